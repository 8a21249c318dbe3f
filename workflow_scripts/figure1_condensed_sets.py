"""Rule figure1_condensed_sets: the condensed images of every data set."""

from dclib.data.synthetic import SyntheticSet
from dclib.pipeline import figures
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    sets = [SyntheticSet.load(path) for path in snakemake.input]
    figures.write(figures.condensed_sets(sets), snakemake.output.png)
