"""Rule of every table and figure, and of the page: draw it up from cells of the grid."""

import pkgutil
from pathlib import Path

from dclib.pipeline.job import job
from dclib.pipeline.outputs import AGGREGATES
from dclib.pipeline.tabulation import Work

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    described, outputs = AGGREGATES[running.job.rule], running.job.files.outputs
    first, place = next(iter(described.outputs.items()))
    work = Work(
        settings=running.job.settings,
        inputs={name: [*map(Path, paths)] for name, paths in running.job.inputs.items()},
        outputs={name: Path(path) for name, path in outputs.items()},
        results=Path(outputs[first].removesuffix(f"/{place}")),
        published=Path(snakemake.scriptdir, "../resources/published.csv"),
    )
    pkgutil.resolve_name(described.make)(work)
