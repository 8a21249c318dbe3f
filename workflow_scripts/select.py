"""Rule select: choose real images."""

import importlib
import time
from pathlib import Path

import torch

from dclib import runner
from dclib.datasets import ImageDataset
from dclib.seeding import Streams
from job import job

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    started = time.monotonic()
    cell = snakemake.params.cell
    select = getattr(
        importlib.import_module(f"dclib.methods.{snakemake.params.module}"), cell.method
    )
    chosen = select(ImageDataset.load(snakemake.input.data), int(cell.ipc), Streams(*cell))
    runner.write_set(
        Path(snakemake.output.set).parent,
        chosen,
        metadata={**cell._asdict(), "ipc": int(cell.ipc), "settings": {}},
        digest=snakemake.params.code,
        device=torch.device("cpu"),
        seconds=time.monotonic() - started,
    )
