"""Rule condense: learn a set with an iterative method."""

from dclib import files, runner
from dclib.data.datasets import ImageDataset
from dclib.pipeline.job import job
from dclib.seeding import Streams

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    cell = running.job.point
    method = running.method.create(
        cell.network,
        running.settings,
        ImageDataset.load(running.data),
        int(cell.ipc),
        running.device,
    )
    made, progress = runner.run(method, Streams(*cell.finished), **running.resumable)
    running.note_progress(progress)
    files.write_text(running.output("trace"), progress.trace())
    running.write_set(made)
