"""Gradients of a network by class, and the distances between two sets of gradients."""

from collections.abc import Sequence
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, func, nn
from torch.nn import functional

from dclib import memory
from dclib.methods.dc.settings import Distance, Engine

DISTANCES, ENGINES = get_args(Distance), get_args(Engine)


def match(
    network: nn.Module,
    real: Sequence[Float[Tensor, "_ channels height width"]],
    synthetic: Float[Tensor, "classes ipc channels height width"],
    kind: str = "ours",
    engine: str = "auto",
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
        engine: what computes it. `by_class`: one class after another, real images in
            micro-batches. `batched`: classes side by side in single operations, as many at once as
            fit into the memory. `auto`: `batched` on a GPU and `by_class` on a CPU, where each is
            the faster one. They differ in the order of summation alone.

    Raises:
        ValueError: unknown distance or engine.
    """
    if kind not in DISTANCES:
        raise ValueError(f"distance '{kind}' is not one of {', '.join(DISTANCES)}")
    if engine not in ENGINES:
        raise ValueError(f"engine '{engine}' is not one of {', '.join(ENGINES)}")
    names = [name for name, p in network.named_parameters() if kind != "ours" or p.ndim > 1]
    largest = max(map(len, real))
    each = memory.matching_bytes(network, synthetic.shape[2:], largest, synthetic.shape[1])
    if engine == "auto":
        fits = synthetic.is_cuda and each <= memory.memory_budget(synthetic.device)
        engine = "batched" if fits else "by_class"
    if engine == "by_class":
        return _match_by_class(network, names, real, synthetic, kind)

    def some(classes: slice) -> tuple[Tensor, Tensor]:
        return _match_batched(network, names, classes, real[classes], synthetic[classes], kind)

    pieces = memory.in_pieces(some, len(real), each, synthetic.device)
    losses, gradients = zip(*pieces, strict=True)
    return torch.stack(losses).sum(), torch.cat(gradients)


def _match_by_class(
    network: nn.Module, names: Sequence[str], real: Sequence[Tensor], synthetic: Tensor, kind: str
) -> tuple[Tensor, Tensor]:
    parameters = [network.get_parameter(name) for name in names]
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


def _match_batched(
    network: nn.Module,
    names: Sequence[str],
    classes: slice,
    real: Sequence[Tensor],
    synthetic: Tensor,
    kind: str,
) -> tuple[Tensor, Tensor]:
    """Match all of some classes in one operation each, by torch.func."""
    fixed = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    fixed = {name: tensor.detach() for name, tensor in fixed.items()}
    learnt = {name: fixed.pop(name) for name in names}

    def objective(
        parameters: dict[str, Tensor], images: Tensor, label: Tensor, weights: Tensor
    ) -> Tensor:
        logits = func.functional_call(network, {**fixed, **parameters}, (images,))
        losses = functional.cross_entropy(logits, label.expand(len(images)), reduction="none")
        return (losses * weights).sum()

    def class_loss(images: Tensor, label: Tensor, target: dict[str, Tensor]) -> Tensor:
        weights = images.new_full((len(images),), 1 / len(images))
        gradient = func.grad(objective)(learnt, images, label, weights)
        return distance([target[name] for name in names], [gradient[name] for name in names], kind)

    labels = torch.arange(classes.start, classes.start + len(real), device=synthetic.device)
    # Classes of fewer images are filled up with black ones that weigh nothing.
    weights = [images.new_full((len(images),), 1 / len(images)) for images in real]
    padded = [nn.utils.rnn.pad_sequence(list(x), batch_first=True) for x in (real, weights)]
    of_class = func.vmap(func.grad(objective), in_dims=(None, 0, 0, 0))
    target = of_class(learnt, padded[0], labels, padded[1])
    gradient, loss = func.vmap(func.grad_and_value(class_loss))(synthetic, labels, target)
    return loss.sum(), gradient


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
    for chunk in images.split(memory.micro_batch(network, images)):
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
