"""Rule ablations: what a change of the network or of the distance does to the accuracy."""

from dclib.pipeline import tables
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    table = tables.ablations(
        tables.collect(snakemake.input.evaluations), snakemake.params.ablations
    )
    tables.write(table, snakemake.output.csv, tables.MEANING)
