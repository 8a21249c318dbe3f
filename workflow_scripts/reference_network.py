"""Rule reference_network: train the network that selections of real images look at."""

from dclib import devices
from dclib.data.datasets import ImageDataset
from dclib.pipeline.job import job
from dclib.seeding import Streams
from dclib.teachers import reference as reference_network

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake):
    dataset, network = snakemake.wildcards.dataset, snakemake.wildcards.network
    execution = snakemake.config["execution"]
    reference_network.train(
        reference_network.Training(
            network,
            reference_network.Settings(**snakemake.params.settings),
            ImageDataset.load(snakemake.input.data),
            devices.choose(
                execution["device"], snakemake.threads, execution["gpu_jobs_per_device"]
            ),
        ),
        Streams(dataset, "reference", network),
        snakemake.output[0],
        digest=snakemake.params.code,
        checkpoint_seconds=execution["checkpoint_seconds"],
        description=f"{dataset} reference network {network}",
    )
