"""Rule figure1_condensed_sets: the condensed images of every data set."""

from dclib import figures
from dclib.synthetic import SyntheticSet
from job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    sets = [SyntheticSet.load(path) for path in snakemake.input]
    figures.write(figures.condensed_sets(sets), snakemake.output.png)
