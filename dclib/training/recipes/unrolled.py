"""Training on a distilled set as it was learnt: its own steps, order and learning rates.

Step s takes image s of every class; the steps are repeated, in the same order, for some epochs, and
every step of every epoch has a learning rate of its own (Wang et al. 2018, Algorithm 1).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.nn import functional

from dclib.errors import InputError
from dclib.networks.plans import Network
from dclib.seeding import Streams
from dclib.training import ensembles
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples
from dclib.training.recipes import require

Images = Float[Tensor, "steps batch channels height width"]
Labels = Int64[Tensor, "steps batch"] | Float[Tensor, "steps batch classes"]


class Unrolled:
    """See the module."""

    def __init__(self, examples: Examples, learning_rates: Float[Tensor, " unrolled"]) -> None:
        self.batch = examples.data.num_classes
        self.images, self.labels = (
            by_step(tensor, self.batch) for tensor in (examples.images, examples.labels)
        )
        self.rates = learning_rates
        self.epochs = len(learning_rates) // len(self.images)
        self.test_epochs = [self.epochs]

    def initialise(self, network: Network) -> None:
        """Draw what the images were learnt for."""
        initialise(network)

    def train(
        self,
        networks: Sequence[Network],
        random: Sequence[Streams],
        test: Callable[[Ensemble], None],
    ) -> Ensemble:
        """Train networks one after another, and call `test` in the end."""
        for network in networks:
            train(network, self.images, self.labels, self.rates)
        ensemble = Ensemble(networks)
        test(ensemble)
        return ensemble


def create(
    examples: Examples, settings: Any, parameters: Mapping[str, Tensor], teacher: nn.Module | None
) -> Unrolled:
    """Return the recipe for a set; no setting can touch it, nor a teacher.

    Raises:
        InputError: the set has no learning rates, one that is not finite, or not as many for each
            of its steps, or has not as many images of each class.
    """
    require("unrolled", parameters, "learning_rates")
    rates, classes = parameters["learning_rates"], examples.data.num_classes
    steps, rest = divmod(len(examples), classes)
    if rest or not steps:
        raise InputError(
            f"recipe 'unrolled' takes as many images of each of the {classes} classes, the set has "
            f"{len(examples)} images"
        )
    if rates.ndim != 1 or not len(rates) or len(rates) % steps or not rates.isfinite().all():
        raise InputError(
            f"recipe 'unrolled' takes finite learning_rates, one for each of the set's {steps} "
            f"steps in every epoch; the set has {tuple(rates.shape)} of them"
            f"{'' if rates.isfinite().all() else ', some NaN or infinite'}"
        )
    return Unrolled(examples, rates)


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
    labels: Labels,
    learning_rates: Float[Tensor, " unrolled"],
) -> None:
    """Train a network, in place, as the images were learnt for: by plain gradient descent.

    Args:
        network: fresh from `initialise`; maps images to logits.
        images: what each step takes, see `by_step`.
        labels: of these images.
        learning_rates: one for every step of every epoch, epoch after epoch.
    """
    for _ in descend(network, images, labels, learning_rates):
        pass


def descend(
    network: nn.Module, images: Images, labels: Labels, learning_rates: Tensor
) -> Iterator[None]:
    """Do the steps of `train`, and stop before each of them."""
    network.train()
    parameters: list[Tensor] = list(network.parameters())
    for i, rate in enumerate(learning_rates):
        yield
        step = i % len(images)
        loss = functional.cross_entropy(network(images[step]), labels[step])
        ensembles.descend(parameters, torch.autograd.grad(loss, parameters), [], lr=rate)
