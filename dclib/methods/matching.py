"""Matching of gradients by class: the distances between two sets of them, and its gradient."""

from collections.abc import Sequence
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, func, nn
from torch.nn import functional

from dclib import footprint, memory
from dclib.methods.dc.settings import Distance, Engine
from dclib.networks import gradients

DISTANCES, ENGINES = get_args(Distance), get_args(Engine)


def match(
    network: nn.Module,
    real: Sequence[Float[Tensor, "_ channels height width"]],
    synthetic: Float[Tensor, "classes ipc channels height width"],
    kind: str = "ours",
    engine: str = "auto",
    names: Sequence[str] | None = None,
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
        engine: how synthetic images are taken. `by_class`: one class after another. `batched`:
            classes side by side in single operations, as many at once as fit into the memory.
            `auto`: `batched` on a GPU and `by_class` on a CPU, where each is the faster one. They
            differ in the order of summation alone. Real images are taken in the same way by both.
        names: of the parameters whose gradients count; None for all.

    Raises:
        ValueError: unknown distance or engine.
    """
    if kind not in DISTANCES:
        raise ValueError(f"distance '{kind}' is not one of {', '.join(DISTANCES)}")
    if engine not in ENGINES:
        raise ValueError(f"engine '{engine}' is not one of {', '.join(ENGINES)}")
    if names is None:
        names = [name for name, p in network.named_parameters() if kind != "ours" or p.ndim > 1]
    target = gradients.by_class(network, names, real)
    classes, ipc, *shape = synthetic.shape
    if engine == "auto":
        engine = "batched" if synthetic.is_cuda else "by_class"
    if engine == "by_class":
        return _match_by_class(network, names, target, synthetic, kind)

    def some(part: slice) -> tuple[Tensor, Tensor]:
        targets = {name: own[part] for name, own in zip(names, target, strict=True)}
        return _match_batched(network, part, targets, synthetic[part], kind)

    each = int(footprint.SECOND_ORDER * memory.activation_bytes(network, shape) * ipc)
    pieces = memory.in_pieces(some, classes, each, synthetic.device)
    losses, found = zip(*pieces, strict=True)
    return torch.stack(losses).sum(), torch.cat(found)


def _match_by_class(
    network: nn.Module,
    names: Sequence[str],
    target: Sequence[Tensor],
    synthetic: Tensor,
    kind: str,
) -> tuple[Tensor, Tensor]:
    parameters = [network.get_parameter(name) for name in names]
    loss = torch.zeros((), dtype=synthetic.dtype, device=synthetic.device)
    image_gradient = torch.empty_like(synthetic)
    for label, own in enumerate(synthetic):
        images = own.detach().requires_grad_()
        labels = torch.full((len(images),), label, device=images.device)
        objective = functional.cross_entropy(network(images), labels)
        gradient = torch.autograd.grad(objective, parameters, create_graph=True)
        class_loss = distance([of[label] for of in target], gradient, kind)
        image_gradient[label] = torch.autograd.grad(class_loss, images)[0]
        loss += class_loss.detach()
    return loss, image_gradient


def _match_batched(
    network: nn.Module, classes: slice, targets: dict[str, Tensor], synthetic: Tensor, kind: str
) -> tuple[Tensor, Tensor]:
    """Match all of some classes in one operation each, by torch.func."""
    fixed = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    fixed = {name: tensor.detach() for name, tensor in fixed.items()}
    learnt = {name: fixed.pop(name) for name in targets}

    def objective(parameters: dict[str, Tensor], images: Tensor, label: Tensor) -> Tensor:
        logits = func.functional_call(network, {**fixed, **parameters}, (images,))
        return functional.cross_entropy(logits, label.expand(len(images)))

    def class_loss(images: Tensor, label: Tensor, target: dict[str, Tensor]) -> Tensor:
        gradient = func.grad(objective)(learnt, images, label)
        return distance(list(target.values()), [gradient[name] for name in target], kind)

    labels = torch.arange(classes.start, classes.stop, device=synthetic.device)[: len(synthetic)]
    gradient, loss = func.vmap(func.grad_and_value(class_loss))(synthetic, labels, targets)
    return loss.sum(), gradient


def distance(
    real: Sequence[Tensor], synthetic: Sequence[Tensor], kind: str = "ours"
) -> Float[Tensor, ""]:
    """Return the distance between two sets of gradients, one tensor a parameter.

    `ours` (Zhao et al. 2021, equation 10): one minus the cosine between the gradients of every
    output row, summed over rows and parameters, with 1e-6 added to the product of the norms.
    Convolution weights [out, in, h, w] have a row for every output, linear weights [out, in] too, a
    LayerNorm weight [C, h, w] one for every channel; one-dimensional gradients count zero.
    `mse`: the sum of squared differences of all values, `l1` of absolute ones. `cos`: one
    minus the cosine of the two vectors that hold all values.

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
    if kind == "l1":
        return torch.sum((a - b).abs())
    if kind == "cos":
        return 1 - _cosine(a, b)
    raise ValueError(f"distance '{kind}' is not one of {', '.join(DISTANCES)}")


def _cosine(a: Float[Tensor, "*rows n"], b: Float[Tensor, "*rows n"]) -> Float[Tensor, "*rows"]:
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-6)
