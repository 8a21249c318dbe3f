"""Rule prepare: read a data set from its original files and write it as one file."""

from dclib.data import sources
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    sources.prepare(
        snakemake.params.options,
        running.output("data"),
        snakemake.config["data_dir"],
        processes=snakemake.threads,
    )
