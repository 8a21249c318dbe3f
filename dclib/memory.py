"""How much memory an operation will take, told from the network and the images."""

import copy
import gc
import logging
import math
import weakref
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from dclib import footprint

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_fitting: dict[tuple[torch.device, int], int] = {}  # pieces for which the memory sufficed at last
_known: "weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]]" = (
    weakref.WeakKeyDictionary()
)


def activation_bytes(network: nn.Module, shape: Sequence[int]) -> int:
    """Return the bytes that one image's forward pass keeps for its backward pass, in float32.

    Args:
        network: maps images to logits. One that knows it has a method of this name, as those of
            `dclib.networks.plans` have.
        shape: channels, height and width of an image.
    """
    told = getattr(network, "activation_bytes", None)
    return int(told(shape)) if told else measured_activation_bytes(network, shape)


def measured_activation_bytes(network: nn.Module, shape: Sequence[int]) -> int:
    """Return the same of any network, which is run on shapes alone.

    What autograd saves is counted. PyTorch imports for a second before it does so.
    """
    known = _known.setdefault(network, {})
    key = tuple(shape)
    if key not in known:
        model = copy.deepcopy(network).float().requires_grad_().to("meta").eval()
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


def training_bytes(network: nn.Module, shape: Sequence[int], batch: int) -> int:
    """Return the bytes that training one network on batches of `batch` images takes."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return footprint.training_bytes(activation_bytes(network, shape), parameters, batch)


def micro_batch(network: nn.Module, images: Tensor) -> int:
    """Return how many of `images` to take through a network, there and back, at once.

    As many as fit into the memory that one operation may take, in passes of equal size.
    """
    each = activation_bytes(network, images.shape[1:])
    fits = footprint.passing(each, memory_budget(images.device))
    passes = math.ceil(len(images) / fits)
    return math.ceil(len(images) / passes)


def memory_budget(device: torch.device) -> int:
    """Return the bytes that one batched operation may take.

    It follows from the size of the card and not from what is free, so that the same settings are
    cut into the same pieces, unless memory runs out nevertheless (see `in_pieces`).
    """
    if device.type == "cpu":
        return footprint.CPU_BUDGET
    share = torch.cuda.get_per_process_memory_fraction(device)
    return int(torch.cuda.get_device_properties(device).total_memory * share) // 2


def in_pieces(
    function: Callable[[slice], Result], count: int, bytes_each: int, device: torch.device
) -> list[Result]:
    """Return what `function` makes of slices of `range(count)`, as large as the memory allows.

    Args:
        bytes_each: memory that one more element takes.
    """
    limit = _fitting.get((device, bytes_each), count)
    size = max(1, min(count, limit, memory_budget(device) // max(1, bytes_each)))
    while True:
        try:
            return [function(slice(i, i + size)) for i in range(0, count, size)]
        except RuntimeError as error:
            if size == 1 or not ran_out(error):
                raise
            size = _fitting[device, bytes_each] = -(-size // 2)
            log.warning("out of memory: going on with %d of %d at a time", size, count)
            if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                raise  # a recording has to end first
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def ran_out(error: BaseException) -> bool:
    """Return whether memory ran out, under whichever name a library says so."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        name in str(error)
        for name in ("unable to find an engine", "STATUS_ALLOC_FAILED", "CUDA error: out of memory")
    )
