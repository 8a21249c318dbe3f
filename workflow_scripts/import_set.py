"""Rule import_set: bring a set of somebody's to the form of all sets."""

from pathlib import Path

from dclib.data.datasets import ImageDataset
from dclib.methods.imported import method
from dclib.methods.imported.settings import Settings
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    path, told = running.job.source, dict(running.job.settings)
    experiment = told.pop("experiment")
    data, ipc = ImageDataset.load(running.data), int(running.job.point.ipc)
    invert = running.whitening.invert if running.whitening else None
    made = method.load(Path(path), Settings(file=path, **told), data, ipc, experiment, invert)
    running.write_set(made)
