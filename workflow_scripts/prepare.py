"""Rule prepare: read a data set from its original files and write it as one file."""

from dclib import readers
from job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    options = dict(snakemake.params.dataset)
    data = readers.read(options.pop("source"), data_dir=snakemake.config.get("data_dir"), **options)
    data.save(snakemake.output[0])
