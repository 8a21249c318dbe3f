"""Rule export: write a set for other people's code."""

from dclib.data.synthetic import SyntheticSet
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    made = SyntheticSet.load(running.job.inputs["set"][0])
    for name in ("pt", "images", "npz", "pictures"):  # images bring their labels
        made.export(running.output(name))
