"""Rule select: choose real images."""

from dclib.data.datasets import ImageDataset
from dclib.pipeline.job import job
from dclib.seeding import Streams

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    cell = running.job.point
    chosen = running.method.select(
        ImageDataset.load(running.data),
        int(cell.ipc),
        Streams(*cell),
        running.teachers,
        running.device,
    )
    running.notes["reference_test_accuracy"] = chosen.metadata.get("reference_test_accuracy")
    running.write_set(chosen)
