"""How much memory a job of the pipeline will take, told from its settings.

No job imports it, so that a better prediction makes no result stale.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dclib import devices, memory
from dclib.networks import plans as networks

# What a process of PyTorch holds before it computes anything, on the CPU and with a GPU in use.
_IMPORTED, _WITH_GPU = 780 * 2**20, 4000 * 2**20
_SLACK = 1.25  # memory that is freed in other pieces than it is asked for
_TEST = 2.0  # like memory.FIRST_ORDER, for a pass there only


def job_mib(
    kind: str,
    network: str,
    settings: Mapping[str, Any],
    *,
    shape: Sequence[int],
    num_classes: int,
    ipc: int | None,
    data_bytes: int,
    device: str = "cpu",
) -> int:
    """Return the MiB that a job will hold at its peak in the memory of the host.

    Args:
        kind: a module of dclib.methods, `evaluation` or `reference_network`.
        network: what the set is condensed with or evaluated on.
        settings: those of the method or the evaluation.
        shape: channels, height and width of the images.
        ipc: images per class of the set; None for the whole training split.
        data_bytes: size of the prepared data set, which the job maps.
        device: what the config asks for; all but `cpu` may be a GPU.
    """
    model = networks.build(network, shape[0], (shape[1], shape[2]), num_classes)
    each = memory.activation_bytes(model, shape)
    parameters = sum(parameter.numel() * 4 for parameter in model.parameters())
    passing = memory.passing(each, torch.device("cpu"))
    images = math.inf if ipc is None else num_classes * ipc
    if kind == "dc.method":
        batched = settings["engine"] == "batched"  # all of a class at once
        real = settings["real_batch"] if batched else min(passing, settings["real_batch"])
        matching = each * (memory.FIRST_ORDER * real + memory.SECOND_ORDER * (ipc or 0))
        peak = max(matching, memory.FIRST_ORDER * each * min(settings["batch_net"], images))
    elif kind == "dd.method":
        real = min(devices.MICRO_BATCH["cpu"], settings["real_batch"])
        unrolled = parameters * settings["epochs"] * (ipc or 0)
        peak = each * (memory.FIRST_ORDER * real + memory.SECOND_ORDER * num_classes) + unrolled
    else:
        training = memory.FIRST_ORDER * each * min(settings["batch"], images)
        peak = max(training, _TEST * each * devices.MICRO_BATCH["cpu"])
    held = _IMPORTED + data_bytes + 6 * parameters + 40 * 2**20
    needed = held + _SLACK * peak
    return math.ceil((needed if device == "cpu" else max(needed, _WITH_GPU)) / 2**20)
