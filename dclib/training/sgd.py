"""The loop of stochastic gradient descent: networks side by side, epoch by epoch."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from dclib import graphs
from dclib.seeding import Streams
from dclib.training import augmentation
from dclib.training.ensembles import Ensemble, descend
from dclib.training.examples import Examples


@runtime_checkable
class Schedule(Protocol):
    """How networks are trained: SGD with momentum, weight decay and batches, for some epochs."""

    @property
    def epochs(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def batch(self) -> int: ...


class SGD:
    """Trains the networks of an ensemble, each on batches of its own order.

    From half-way on the learning rate is a tenth, and the momentum starts anew.

    Attributes:
        velocities: the momentum of every parameter of the ensemble.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        examples: Examples,
        schedule: Schedule,
        kinds: Sequence[str] = (),
    ) -> None:
        """Begin before the first epoch.

        Args:
            kinds: of augmentation, one of which is drawn for every image.
        """
        self.ensemble, self.examples, self.schedule = ensemble, examples, schedule
        self.kinds = kinds
        self.velocities = [torch.zeros_like(parameter) for parameter in ensemble.parameters]
        self._steps: dict[tuple[int, float], Step] = {}

    def epoch(self, number: int, random: Sequence[Streams]) -> "Iterator[Step]":
        """Train for epoch `number`, the first being 1, and stop after each of its steps.

        Args:
            random: the streams `order` and `augmentation` of every network.
        """
        schedule, half = self.schedule, max(1, self.schedule.epochs // 2)
        if number == half + 1:
            torch._foreach_zero_(self.velocities)
            self._steps.clear()
        lr = schedule.lr if number <= half else 0.1 * schedule.lr
        self.ensemble.train()
        orders = [torch.randperm(len(self.examples), generator=own["order"]) for own in random]
        for batch in torch.stack(orders).split(schedule.batch, dim=1):
            key = batch.shape[1], lr
            if key not in self._steps:
                self._steps[key] = Step(self, lr)
            self._steps[key](batch, random)
            yield self._steps[key]


class Step:
    """A step of training, on buffers that stay where they are in memory.

    Attributes:
        batch: the indices of the images that it took, a row for each network.
        logits: what the networks said of them before the step.
        losses: the cross-entropy of every image before the step.
    """

    batch: Int64[Tensor, "models batch"]
    logits: Float[Tensor, "models batch classes"]
    losses: Float[Tensor, "models batch"]

    def __init__(self, sgd: SGD, lr: float) -> None:
        self._sgd, self._lr = sgd, lr
        self._device = sgd.examples.labels.device
        self._inputs: dict[str, Tensor] = {}
        self._repeated = graphs.Repeated(self._once, self._device)

    def __call__(self, batch: Tensor, random: Sequence[Streams]) -> None:
        """Train on the images of these indices."""
        inputs = {"batch": batch}
        if kinds := self._sgd.kinds:
            shape = (batch.shape[1], *self._sgd.examples.images.shape[1:])
            drawn = [augmentation.draw(shape, kinds, own["augmentation"]) for own in random]
            inputs |= {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
        for name, value in inputs.items():
            if name not in self._inputs:
                self._inputs[name] = value.to(self._device)
            self._inputs[name].copy_(value, non_blocking=True)
        self.batch = self._inputs["batch"]
        self._repeated()

    def _once(self) -> None:
        ensemble, examples, schedule = self._sgd.ensemble, self._sgd.examples, self._sgd.schedule
        moves = {name: value for name, value in self._inputs.items() if name != "batch"}
        images, labels = examples.normalised(self.batch), examples.labels[self.batch]
        if moves:
            images = augmentation.transform(images, **moves)
        logits = ensemble(images)
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(0, 1), reduction="none"
        ).view(self.batch.shape)
        descend(
            ensemble.parameters,
            torch.autograd.grad(losses.mean(1).sum(), ensemble.parameters),
            self._sgd.velocities,
            lr=self._lr,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
        )
        self.logits, self.losses = logits.detach(), losses.detach()
