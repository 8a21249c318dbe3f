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
    network, path = running.job.tested, running.input("set")
    training = SyntheticSet.load(path) if path else None
    evaluation = Evaluation(
        network,
        Settings(**running.job.settings),
        ImageDataset.load(running.data),
        training,
        running.device,
        running.whitening.apply if running.whitening else None,
        running.teachers["reference"].network if running.teachers else None,
    )
    random = Streams(*running.job.point, "evaluation", network)
    results, progress = runner.run(evaluation, random, first_of_more=True, **running.resumable)
    running.note_progress(progress)
    running.notes["seconds"] = round(float(results.rows["seconds"].sum()), 3)  # of these networks
    if training and (authors := training.metadata.get("authors_accuracies", {}).get(network)):
        results.rows["authors_accuracy"] = sum(authors) / len(authors)
    files.write_text(running.output("curve"), results.curve.to_csv(index=False))
    files.write_text(running.output("rows"), results.rows.to_csv(index=False))
