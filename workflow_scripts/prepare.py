"""Rule prepare: read a data set from its original files and write it as one file."""

from dclib.data import readers
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    readers.prepare(snakemake.params.dataset, snakemake.config.get("data_dir"), snakemake.output[0])
