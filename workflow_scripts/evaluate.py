"""Rule evaluate: train networks from scratch on a set, and test them."""

from dclib import files, runner
from dclib.applications.evaluation.evaluate import Evaluation
from dclib.applications.evaluation.settings import Settings
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet
from dclib.pipeline.job import job
from dclib.seeding import Streams

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    network, training = running.job.tested, running.input("set")
    evaluation = Evaluation(
        network,
        Settings(**running.job.settings),
        ImageDataset.load(running.data),
        SyntheticSet.load(training) if training else None,
        running.device,
    )
    random = Streams(*running.job.point, "evaluation", network)
    results, progress = runner.run(evaluation, random, **running.resumable)
    running.note_progress(progress)
    files.write_text(running.output("curve"), results.curve.to_csv(index=False))
    files.write_text(running.output("rows"), results.rows.to_csv(index=False))
