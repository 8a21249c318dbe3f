"""Rule table1: the accuracies of every data set, ipc and method beside the published ones."""

from pathlib import Path

from dclib.pipeline import tables
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    rows = tables.read_evaluations(snakemake.input.evaluations[0])
    published = tables.read_published(Path(snakemake.scriptdir, "../resources/published.csv"))
    table = tables.compare(
        rows,
        published[published["table"] == "1"],
        snakemake.input.data,
        snakemake.params.expected,
    )
    tables.write(table, snakemake.output.csv, tables.COMPARED)
