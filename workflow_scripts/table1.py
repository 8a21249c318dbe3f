"""Rule table1: the accuracies of every data set, ipc and method beside the published ones."""

from pathlib import Path

import pandas as pd

from dclib import tables
from job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    table = tables.table1(
        pd.read_csv(snakemake.input.evaluations[0], dtype={"ipc": str}),
        tables.read_published(Path(snakemake.scriptdir, "../resources/published.csv")),
        snakemake.input.data,
        snakemake.params.expected,
    )
    tables.write(table, snakemake.output.csv, tables.TABLE1_TITLE)
