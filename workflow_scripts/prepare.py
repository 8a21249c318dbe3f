"""Rule prepare: read a data set from its original files and write it as one file."""

from dclib.data import sources
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    data = sources.read(snakemake.params.options, snakemake.config["data_dir"])
    data.save(running.output("data"))
