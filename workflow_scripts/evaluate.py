"""Rule evaluate: train networks from scratch on a set, and test them."""

from dclib import devices, provenance
from dclib.applications import evaluation
from dclib.pipeline.job import job
from dclib.seeding import Streams

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    cell, settings = snakemake.params.cell, snakemake.params.settings
    network, execution = snakemake.wildcards.eval_network, snakemake.config["execution"]
    device = devices.choose(
        execution["device"], snakemake.threads, execution["gpu_jobs_per_device"]
    )
    evaluation.evaluate(
        evaluation.from_files(
            network, settings, snakemake.input.data, snakemake.input.get("set") or None, device
        ),
        Streams(*cell, "evaluation", network),
        snakemake.output.rows,
        snakemake.output.curve,
        digest=provenance.digest(snakemake.params.code, settings),
        checkpoint_seconds=execution["checkpoint_seconds"],
        description=f"{cell.folder} on {network}",
    )
