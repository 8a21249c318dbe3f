"""Rule figure2_accuracy: test accuracy against training epoch."""

from dclib.pipeline import figures, tables
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    curves = tables.collect(snakemake.input)
    figures.write(figures.accuracy_curves(curves), snakemake.output.png)
