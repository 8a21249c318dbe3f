"""Rule of every table and figure: draw it up from cells of the grid."""

import pkgutil
from pathlib import Path

from dclib.pipeline.job import job
from dclib.pipeline.plan import AGGREGATES
from dclib.pipeline.tabulation import Work

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    inputs = {name: [*map(Path, paths)] for name, paths in running.job.inputs.items()}
    work = Work(
        settings=running.job.settings,
        data=inputs.pop("data"),
        inputs=[path for paths in inputs.values() for path in paths],
        outputs={name: Path(path) for name, path in running.job.files.outputs.items()},
        published=Path(snakemake.scriptdir, "../resources/published.csv"),
    )
    pkgutil.resolve_name(AGGREGATES[running.job.rule].make)(work)
