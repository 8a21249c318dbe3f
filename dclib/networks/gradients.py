"""Gradients of a network's parameters by class, from one ordinary pass there and back.

The gradient of a layer's weights is a sum over images. A backward pass through all classes at once
brings the gradient of every layer's output; the images of a class being next to each other, its
share of the weights' gradient comes from a slice, by the kernel that computes that of a batch.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dclib import footprint, memory
from dclib.networks import layers, norms


def by_class(
    network: nn.Module, names: Sequence[str], images: Sequence[Tensor]
) -> list[Float[Tensor, "classes *_"]]:
    """Return the gradients of the mean cross-entropy of every class's images, one a parameter.

    Classes go through the network as many at a time as the memory allows, and one that is too large
    for it in parts, which changes the order of summation and nothing else. BatchNorm layers have to
    be in evaluation mode.

    Args:
        network: maps images to logits, by the layers of `dclib.networks.layers`.
        names: of the parameters that gradients are wanted of.
        images: for every class a batch [n, channels, height, width]; sizes may differ.
    """
    device, largest = images[0].device, max(map(len, images))
    activations = memory.activation_bytes(network, images[0].shape[1:])
    each = int(footprint.FIRST_ORDER * activations * largest)

    def some(classes: slice) -> list[list[Tensor]]:
        """Return sums by parameter and class."""
        if each <= memory.memory_budget(device):
            return _sums(network, names, images[classes], classes.start)
        (own,) = images[classes]
        parts = own.split(memory.micro_batch(network, own))
        found = [_sums(network, names, [part], classes.start) for part in parts]
        return [
            [sum(part[0].to(network.get_parameter(name).dtype) for part in parts)]
            for name, *parts in zip(names, *found, strict=True)
        ]

    pieces = memory.in_pieces(some, len(images), each, device)
    gradients = []
    for name, *sums in zip(names, *pieces, strict=True):
        kind = network.get_parameter(name).dtype
        means = torch.stack([own for piece in sums for own in piece]).to(kind)
        torch._foreach_div_(means.unbind(), [float(len(own)) for own in images])
        gradients.append(means)
    return gradients


def _sums(
    network: nn.Module, names: Sequence[str], images: Sequence[Tensor], first: int
) -> list[list[Tensor]]:
    """Return by parameter and class the gradients of summed losses; `first` is the first class."""
    sizes = [len(own) for own in images]
    owners: dict[nn.Module, dict[str, int]] = {}  # to the place of each of its parameters
    for place, name in enumerate(names):
        owner, _, key = name.rpartition(".")
        owners.setdefault(network.get_submodule(owner), {})[key] = place
    found: list[list[Tensor]] = [[] for _ in names]
    beginnings: list[Tensor] = []

    def watch(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        given = inputs[0].detach()
        if not output.requires_grad:  # nothing before it has a gradient
            output = output.detach().requires_grad_()
            beginnings.append(output)

        def collect(gradient: Tensor) -> None:
            taken = given.to(gradient.dtype)
            with norms.as_stored(gradient):
                for key, place in owners[module].items():
                    found[place] = [
                        layers.own_gradient(module, key, one, its)
                        for one, its in zip(taken.split(sizes), gradient.split(sizes), strict=True)
                    ]

        output.register_hook(collect)
        return output

    parameters = list(network.parameters())
    learn = [parameter.requires_grad for parameter in parameters]
    hooks = [module.register_forward_hook(watch) for module in owners]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        each = torch.arange(first, first + len(sizes), device=images[0].device).split(1)
        labels = torch.cat([label.expand(size) for label, size in zip(each, sizes, strict=True)])
        logits = network(torch.cat(list(images)))
        loss = functional.cross_entropy(logits, labels, reduction="sum")
        torch.autograd.grad(loss, beginnings)
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, before in zip(parameters, learn, strict=True):
            parameter.requires_grad_(before)
    return found
