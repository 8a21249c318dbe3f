"""The loop of stochastic gradient descent: networks side by side, epoch by epoch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
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
        lr: the learning rate, where the networks are.
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
        self.lr = torch.tensor(schedule.lr, device=examples.labels.device)
        self.velocities = [torch.zeros_like(parameter) for parameter in ensemble.parameters]
        self._steps: dict[int, Step] = {}

    def restart(self, networks: Sequence[nn.Module]) -> None:
        """Begin anew with as many fresh networks as there are."""
        self.ensemble.load(networks)
        torch._foreach_zero_(self.velocities)

    def epoch(self, number: int, random: Sequence[Streams]) -> "Iterator[Step]":
        """Train for epoch `number`, the first being 1, and stop after each of its steps.

        Args:
            random: the streams `order`, `augmentation` and `noise` of every network; the former two
                are drawn for all of the epoch at once.
        """
        schedule, half = self.schedule, max(1, self.schedule.epochs // 2)
        if number == half + 1:
            torch._foreach_zero_(self.velocities)
        self.lr.fill_(schedule.lr if number <= half else 0.1 * schedule.lr)
        self.ensemble.train()
        count, device = len(self.examples), self.lr.device
        orders = [torch.randperm(count, generator=own["order"]) for own in random]
        inputs = {"batch": torch.stack(orders)}
        if self.kinds:
            moves = [augmentation.draw(count, self.kinds, own["augmentation"]) for own in random]
            inputs |= {name: torch.stack([one[name] for one in moves]) for name in moves[0]}
        inputs = {name: drawn.to(device, non_blocking=True) for name, drawn in inputs.items()}
        batches = [drawn.split(schedule.batch, dim=1) for drawn in inputs.values()]
        for batch in zip(*batches, strict=True):
            size = batch[0].shape[1]
            if size not in self._steps:
                self._steps[size] = Step(self)
            self._steps[size](dict(zip(inputs, batch, strict=True)), random)
            yield self._steps[size]


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

    def __init__(self, sgd: SGD) -> None:
        self._sgd = sgd
        self._inputs: dict[str, Tensor] = {}
        self._repeated = graphs.Repeated(self._once, sgd.lr.device)

    def __call__(self, inputs: Mapping[str, Tensor], random: Sequence[Streams]) -> None:
        """Train on the images whose indices are `batch`, moved as the rest of `inputs` says."""
        if "noisy" in inputs:
            shape = inputs["batch"].shape[1], *self._sgd.examples.images.shape[1:]
            noise = [augmentation.noise(shape, own, self._sgd.lr.device) for own in random]
            inputs = {**inputs, "noise": torch.stack(noise)}
        for name, value in inputs.items():
            if name not in self._inputs:
                self._inputs[name] = value.clone()
            self._inputs[name].copy_(value)
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
            lr=self._sgd.lr,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
        )
        self.logits, self.losses = logits.detach(), losses.detach()
