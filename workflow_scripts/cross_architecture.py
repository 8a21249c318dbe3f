"""Rule cross_architecture: sets condensed with one network, tested on others."""

from dclib.pipeline import figures, tables
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    table = tables.cross_architecture(
        tables.collect(snakemake.input.evaluations), snakemake.params.expected
    )
    tables.write(table, snakemake.output.csv, tables.MEANING, tables.crossed(table))
    figures.write(figures.cross_architecture(table), snakemake.output.figure)
