"""How much memory a computation will take, told from its settings."""

import copy
import math
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dclib import devices, networks

# What a computation holds at its peak, as a multiple of what one forward pass keeps: a pass there
# and back, and one whose backward pass is differentiated in turn.
FIRST_ORDER, SECOND_ORDER = 2.7, 8

_known: "weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]]" = (
    weakref.WeakKeyDictionary()
)


def activation_bytes(network: nn.Module, shape: Sequence[int]) -> int:
    """Return the bytes that one image's forward pass keeps for its backward pass, in float32.

    The network is run on shapes alone, and what autograd saves is counted.

    Args:
        network: maps images to logits.
        shape: channels, height and width of an image.
    """
    known = _known.setdefault(network, {})
    key = tuple(shape)
    if key not in known:
        model = copy.deepcopy(network).float().to("meta").eval()
        own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        saved: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage()._cdata not in own:
                saved[tensor.untyped_storage()._cdata] = tensor
            return tensor

        images = 8  # what does not grow with the batch hardly counts
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(torch.empty(images, *shape, device="meta"))
        known[key] = sum(t.untyped_storage().nbytes() for t in saved.values()) // images
    return known[key]


def matching_bytes(network: nn.Module, shape: Sequence[int], real: int, synthetic: int) -> int:
    """Return the bytes that matching one class takes, all of its images at once.

    Args:
        shape: channels, height and width of an image.
        real, synthetic: images of the class.
    """
    each = activation_bytes(network, shape)
    return int(each * (FIRST_ORDER * real + SECOND_ORDER * synthetic))


def training_bytes(network: nn.Module, shape: Sequence[int], batch: int) -> int:
    """Return the bytes that training one network on batches of `batch` images takes."""
    parameters = sum(parameter.numel() * 4 for parameter in network.parameters())
    return int(FIRST_ORDER * activation_bytes(network, shape) * batch + 5 * parameters)


def micro_batch(network: nn.Module, images: Tensor) -> int:
    """Return how many of `images` to take through a network, there and back, at once.

    As many as fit into the memory that one operation may take, in passes of equal size.
    """
    fits = _passing(activation_bytes(network, images.shape[1:]), images.device)
    passes = math.ceil(len(images) / fits)
    return math.ceil(len(images) / passes)


def _passing(each: int, device: torch.device) -> int:
    return max(1, int(devices.memory_budget(device) / max(1, FIRST_ORDER * each)))


# What a process of PyTorch holds before it computes anything, on the CPU and with a GPU in use.
_IMPORTED, _WITH_GPU = 780 * 2**20, 4000 * 2**20
_SLACK = 1.25  # memory that is freed in other pieces than it is asked for
_TEST = 2.0  # like FIRST_ORDER, for a pass there only


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
    each = activation_bytes(model, shape)
    parameters = sum(parameter.numel() * 4 for parameter in model.parameters())
    passing = _passing(each, torch.device("cpu"))
    images = math.inf if ipc is None else num_classes * ipc
    if kind == "gradient_matching":
        real = min(passing, settings["real_batch"])
        matching = each * (FIRST_ORDER * real + SECOND_ORDER * (ipc or 0))
        peak = max(matching, FIRST_ORDER * each * min(settings["batch_net"], images))
    elif kind == "dataset_distillation":
        real = min(devices.MICRO_BATCH["cpu"], settings["real_batch"])
        unrolled = parameters * settings["epochs"] * (ipc or 0)
        peak = each * (FIRST_ORDER * real + SECOND_ORDER * num_classes) + unrolled
    else:
        training = FIRST_ORDER * each * min(settings["batch"], images)
        peak = max(training, _TEST * each * devices.MICRO_BATCH["cpu"])
    held = _IMPORTED + data_bytes + 6 * parameters + 40 * 2**20
    needed = held + _SLACK * peak
    return math.ceil((needed if device == "cpu" else max(needed, _WITH_GPU)) / 2**20)
