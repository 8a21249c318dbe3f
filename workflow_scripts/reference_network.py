"""Rule reference_network: train the network that selections of real images look at."""

from dclib import runner
from dclib.data.datasets import ImageDataset
from dclib.pipeline.job import job
from dclib.seeding import Streams
from dclib.teachers.reference.settings import Settings
from dclib.teachers.reference.teacher import Training

snakemake = globals()["snakemake"]  # put there by Snakemake

with job(snakemake) as running:
    dataset, network = running.job.cell["dataset"], running.job.cell["network"]
    data = ImageDataset.load(running.data)
    training = Training(network, Settings(**running.job.settings), data, running.device)
    random = Streams(dataset, "reference", network)
    trained, progress = runner.run(training, random, **running.resumable)
    running.note_progress(progress)
    trained.save(running.output("network"))
