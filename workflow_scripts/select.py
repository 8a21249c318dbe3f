"""Rule select: choose real images."""

import time
from pathlib import Path

from dclib import devices, runner
from dclib.data.datasets import ImageDataset
from dclib.methods import coresets
from dclib.pipeline.job import job
from dclib.seeding import Streams
from dclib.teachers import reference as reference_network

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    started = time.monotonic()
    cell = snakemake.params.cell
    device = devices.choose("cpu", snakemake.threads)
    path = snakemake.input.get("reference")
    chosen = coresets.select(
        cell.method,
        ImageDataset.load(snakemake.input.data),
        int(cell.ipc),
        Streams(*cell),
        reference_network.read(path, device) if path else None,
        device,
    )
    runner.write_set(
        Path(snakemake.output.set).parent,
        chosen,
        metadata={**cell._asdict(), "ipc": int(cell.ipc), "settings": {}},
        digest=snakemake.params.code,
        device=device,
        seconds=time.monotonic() - started,
        reference_test_accuracy=chosen.metadata.get("reference_test_accuracy"),
    )
