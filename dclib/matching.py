"""Gradients of a network by class, and the distances between two sets of gradients."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dclib import devices

DISTANCES = ("ours", "mse", "cos")


def match(
    network: nn.Module,
    real: Sequence[Float[Tensor, "_ channels height width"]],
    synthetic: Float[Tensor, "classes ipc channels height width"],
    kind: str = "ours",
) -> tuple[Float[Tensor, ""], Float[Tensor, "classes ipc channels height width"]]:
    """Return the matching loss and its gradient with respect to the synthetic images.

    The loss is the distance between the gradients, with respect to the network's parameters, of the
    mean cross-entropy of a class's real images and of its synthetic images, summed over classes
    (Zhao et al. 2021, section 3.2, Algorithm 1). The network's parameters and running statistics
    are left as they are, if its BatchNorm layers are in evaluation mode.

    Args:
        network: maps images to logits.
        real: for every class a batch of its real images, normalised; sizes may differ.
        synthetic: the synthetic images of every class.
        kind: the distance, see `distance`.

    Raises:
        ValueError: unknown distance.
    """
    if kind not in DISTANCES:
        raise ValueError(f"distance '{kind}' is not one of {', '.join(DISTANCES)}")
    parameters = [p for p in network.parameters() if kind != "ours" or p.ndim > 1]
    loss = torch.zeros((), dtype=synthetic.dtype, device=synthetic.device)
    image_gradient = torch.empty_like(synthetic)
    for label, (real_images, own) in enumerate(zip(real, synthetic, strict=True)):
        target = mean_gradient(network, parameters, real_images, label)
        images = own.detach().requires_grad_()
        labels = torch.full((len(images),), label, device=images.device)
        objective = functional.cross_entropy(network(images), labels)
        gradient = torch.autograd.grad(objective, parameters, create_graph=True)
        class_loss = distance(target, gradient, kind)
        image_gradient[label] = torch.autograd.grad(class_loss, images)[0]
        loss += class_loss.detach()
    return loss, image_gradient


def mean_gradient(
    network: nn.Module,
    parameters: Sequence[Tensor],
    images: Float[Tensor, "n channels height width"],
    label: int,
) -> list[Tensor]:
    """Return the gradient of the mean cross-entropy of `images`, all of one class, by parameter.

    The mean is taken over micro-batches, which changes the order of summation and nothing else.
    """
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for chunk in images.split(devices.MICRO_BATCH[images.device.type]):
        labels = torch.full((len(chunk),), label, device=chunk.device)
        objective = functional.cross_entropy(network(chunk), labels, reduction="sum")
        torch._foreach_add_(total, torch.autograd.grad(objective / len(images), parameters))
    return total


def distance(
    real: Sequence[Tensor], synthetic: Sequence[Tensor], kind: str = "ours"
) -> Float[Tensor, ""]:
    """Return the distance between two sets of gradients, one tensor a parameter.

    `ours` (Zhao et al. 2021, equation 10): one minus the cosine between the gradients of every
    output row, summed over rows and parameters, with 1e-6 added to the product of the norms.
    Convolution weights [out, in, h, w] have a row for every output, linear weights [out, in] too, a
    LayerNorm weight [C, h, w] one for every channel; one-dimensional gradients count zero.
    `mse`: the sum of squared differences of all values. `cos`: one minus the cosine of the two
    vectors that hold all values.

    Raises:
        ValueError: unknown distance.
    """
    if kind == "ours":
        total = synthetic[0].new_zeros(())
        for a, b in zip(real, synthetic, strict=True):
            if a.ndim > 1:
                total = total + torch.sum(1 - _cosine(a.flatten(1), b.flatten(1)))
        return total
    a = torch.cat([gradient.flatten() for gradient in real])
    b = torch.cat([gradient.flatten() for gradient in synthetic])
    if kind == "mse":
        return torch.sum((a - b) ** 2)
    if kind == "cos":
        return 1 - _cosine(a, b)
    raise ValueError(f"distance '{kind}' is not one of {', '.join(DISTANCES)}")


def _cosine(a: Float[Tensor, "*rows n"], b: Float[Tensor, "*rows n"]) -> Float[Tensor, "*rows"]:
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-6)
