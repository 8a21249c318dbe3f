"""Rule whiten: fit what whitens the images of a data set."""

from dclib.data.datasets import ImageDataset
from dclib.data.whitening import Whitening
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    whitening = Whitening.fit(ImageDataset.load(running.data).to(running.device))
    whitening.save(running.output("whitening"))
