"""Rule evaluations: every evaluation row of the grid in one table."""

from dclib import files
from dclib.pipeline import tables
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    rows = tables.collect(snakemake.input)
    files.write_text(snakemake.output[0], rows.to_csv(index=False))
