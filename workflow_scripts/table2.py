"""Rule table2: the accuracies of distillation and gradient matching beside the published ones."""

from pathlib import Path

from dclib.pipeline import tables
from dclib.pipeline.job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    rows = tables.collect(snakemake.input.evaluations)
    published = tables.read_published(Path(snakemake.scriptdir, "../resources/published.csv"))
    table = tables.compare(
        rows,
        published[published["table"] == "2"],
        snakemake.input.data,
        snakemake.params.expected,
    )
    tables.write(table, snakemake.output.csv, tables.COMPARED)
