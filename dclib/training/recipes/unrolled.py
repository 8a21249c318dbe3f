"""Training on a distilled set as it was learnt: its own steps, order and learning rates.

Step s takes image s of every class; the steps are repeated, in the same order, for some epochs, and
every step of every epoch has a learning rate of its own (Wang et al. 2018, Algorithm 1).
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional

Images = Float[Tensor, "steps batch channels height width"]


def initialise(network: nn.Module) -> None:
    """Draw Xavier-normal weights, of gain 1, and make biases zero; fresh norms stay as they are."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def by_step(
    tensor: Shaped[Tensor, "n *rest"], num_classes: int
) -> Shaped[Tensor, "ipc classes *rest"]:
    """Return the images or labels of a set, which go class by class, step by step."""
    return tensor.view(num_classes, -1, *tensor.shape[1:]).transpose(0, 1).contiguous()


def train(
    network: nn.Module,
    images: Images,
    labels: Int64[Tensor, " batch"],
    learning_rates: Float[Tensor, " unrolled"],
) -> None:
    """Train a network, in place, as the images were learnt for: by plain gradient descent.

    Args:
        network: fresh from `initialise`; maps images to logits.
        images: what each step takes, see `by_step`.
        labels: of the images of every step.
        learning_rates: one for every step of every epoch, epoch after epoch.
    """
    for _ in descend(network, images, labels, learning_rates):
        pass


def descend(
    network: nn.Module, images: Tensor, labels: Tensor, learning_rates: Tensor
) -> Iterator[None]:
    """Do the steps of `train`, and stop before each of them."""
    network.train()
    parameters: list[Tensor] = list(network.parameters())
    for i, rate in enumerate(learning_rates.tolist()):
        yield
        loss = functional.cross_entropy(network(images[i % len(images)]), labels)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-rate)
