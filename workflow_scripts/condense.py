"""Rule condense: learn a set with an iterative method."""

import importlib
from pathlib import Path

from dclib import devices, provenance, runner
from dclib.data.datasets import ImageDataset
from dclib.pipeline.job import job
from dclib.seeding import Streams

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    cell, settings = snakemake.params.cell, snakemake.params.settings
    execution = snakemake.config["execution"]
    device = devices.choose(
        execution["device"], snakemake.threads, execution["gpu_jobs_per_device"]
    )
    method = importlib.import_module(f"dclib.methods.{snakemake.params.module}")
    runner.run(
        method.create(cell.network, method.Settings(**settings), device),
        ImageDataset.load(snakemake.input.data),
        int(cell.ipc),
        Streams(*cell),
        Path(snakemake.output.set).parent,
        metadata={**cell._asdict(), "ipc": int(cell.ipc), "settings": settings},
        digest=provenance.digest(snakemake.params.code, settings),
        device=device,
        checkpoint_seconds=execution["checkpoint_seconds"],
        description=cell.folder,
    )
