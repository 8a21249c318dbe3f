"""How much memory a job will take, told from its settings and the header of its data set.

No job imports it, so that a better prediction makes no result stale.
"""

import json
import math
from pathlib import Path
from typing import Any

import safetensors

from dclib import methods
from dclib.applications.evaluation import settings as evaluation
from dclib.errors import InputError
from dclib.networks import names as networks
from dclib.pipeline.description import Job
from dclib.teachers.reference import settings as reference

# What a process of PyTorch holds before it computes anything, on the CPU and with a GPU in use.
_IMPORTED, _WITH_GPU = 780 * 2**20, 4000 * 2**20
_SLACK = 1.25  # memory that is freed in other pieces than it is asked for


def predicted_mib(job: Job, device: str) -> int:
    """Return the MiB that a job will hold at its peak in the memory of the host.

    Args:
        job: one that trains networks.
        device: what the config asks for; all but `cpu` may be a GPU.

    Raises:
        FileNotFoundError: its data set is not prepared yet.
        InputError: its data set is damaged.
    """
    (data,) = job.inputs["data"]
    (_, channels, height, width), classes = _described(data)
    spec = networks.parse(job.tested or job.cell["network"])
    each = spec.activation_bytes(channels, (height, width))
    parameters = spec.parameters(channels, (height, width), classes)
    peak = _peak(job, each, parameters, classes, spec.batchnorm)
    held = Path(data).stat().st_size
    if "whitening" in job.inputs:  # images in float32, and what whitens them
        held += 4 * held + 4 * (channels * height * width) ** 2
    return job_mib(peak, parameters, held, device)


def job_mib(peak: int, parameters: int, data_bytes: int, device: str) -> int:
    """Return the MiB that a job will hold at its peak in the memory of the host.

    Args:
        peak: bytes that its computation takes besides the data and the network.
        parameters: how many weights the network has.
        data_bytes: size of the prepared data set, which the job maps, and of what it makes of it.
        device: what the config asks for; all but `cpu` may be a GPU.
    """
    held = _IMPORTED + data_bytes + 6 * 4 * parameters + 40 * 2**20
    needed = held + _SLACK * peak
    return math.ceil((needed if device == "cpu" else max(needed, _WITH_GPU)) / 2**20)


def _peak(job: Job, each: int, parameters: int, classes: int, batchnorm: bool) -> int:
    if job.rule == "reference_network":
        settings: Any = reference.Settings(**job.settings)
        return reference.peak_bytes(settings, each, parameters)
    ipc = None if job.cell["ipc"] == "all" else int(job.cell["ipc"])
    if job.rule == "evaluate":
        settings = evaluation.Settings(**job.settings)
        seen = None if ipc is None else ipc * job.factor**2
        return evaluation.peak_bytes(settings, each, parameters, classes, seen)
    face = methods.face(job.method)
    peak_bytes = (batchnorm and face.batchnorm_bytes) or face.peak_bytes
    if peak_bytes is None or ipc is None:
        return 0
    return peak_bytes(face.settings(**job.settings), each, parameters, classes, ipc)


def _described(data: str) -> tuple[list[int], int]:
    """Return the shape of a prepared data set's training images, and its number of classes."""
    Path(data).stat()  # if it is not there yet, Snakemake asks again when it is
    try:
        with safetensors.safe_open(data, framework="numpy") as opened:
            shape = opened.get_slice("train_images").get_shape()
            names = json.loads(opened.metadata()["json"])["class_names"]
            n, channels, height, width = shape
            return [n, channels, height, width], len(names)
    except Exception as error:  # safetensors raises many kinds on a damaged header
        raise InputError(f"{data}: not a prepared data set; delete it") from error
