"""The loop of stochastic gradient descent: networks side by side, epoch by epoch."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from dclib import graphs
from dclib.seeding import Streams
from dclib.training import augmentation, mixing
from dclib.training.augmentation import dc
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


@dataclasses.dataclass(frozen=True)
class Variety:
    """What is done to the images of a batch, and to the learning rate; by default as `dc` does.

    Attributes:
        way: whose augmentation it is, a module of `dclib.training.augmentation`.
        kinds: of augmentation that are allowed.
        cutmix: the probability that a batch is mixed.
        drops: parts of the epochs after which the learning rate is multiplied by `drop_factor`.
        restart_momentum: whether the momentum starts anew then.
    """

    way: str = "dc"
    kinds: Sequence[str] = ()
    cutmix: float = 0.0
    drops: Sequence[float] = (0.5,)
    drop_factor: float = 0.1
    restart_momentum: bool = True


@dataclasses.dataclass(frozen=True)
class Soft:
    """Labels that a teacher gives to the images of a batch, as they are after all changes.

    Attributes:
        teacher: what makes logits of images; in evaluation mode.
        temperature: what all logits are divided by, the networks' own as well.
    """

    teacher: nn.Module
    temperature: float = 1.0

    def losses(
        self,
        images: Float[Tensor, "models batch channels height width"],
        logits: Float[Tensor, "models batch classes"],
    ) -> Float[Tensor, "models batch"]:
        """Return the cross-entropy of every image with what the teacher says of it."""
        with torch.no_grad():
            said = self.teacher(images.flatten(0, 1)).view(logits.shape)
        likely = (said / self.temperature).softmax(-1)
        return -(likely * (logits / self.temperature).log_softmax(-1)).sum(-1)


class SGD:
    """Trains the networks of an ensemble, each on batches of its own order.

    Attributes:
        lr: the learning rate, where the networks are.
        velocities: the momentum of every parameter of the ensemble.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        examples: Examples,
        schedule: Schedule,
        variety: Variety = Variety(),
        lr: float | None = None,
        labels: Soft | None = None,
    ) -> None:
        """Begin before the first epoch.

        Args:
            lr: what the learning rate begins with, if it is not that of the schedule.
            labels: what is learnt, if it is not the labels of the examples.
        """
        self.ensemble, self.examples, self.schedule = ensemble, examples, schedule
        self._first_lr = schedule.lr if lr is None else lr
        self.labels = labels
        self.variety, self.way = variety, augmentation.way(variety.way)
        self.lr = torch.tensor(self._first_lr, device=examples.labels.device)
        self.velocities = [torch.zeros_like(parameter) for parameter in ensemble.parameters]
        self._steps: dict[int, Step] = {}

    def restart(self, networks: Sequence[nn.Module]) -> None:
        """Begin anew with as many fresh networks as there are."""
        self.ensemble.load(networks)
        torch._foreach_zero_(self.velocities)

    def epoch(self, number: int, random: Sequence[Streams]) -> "Iterator[Step]":
        """Train for epoch `number`, the first being 1, and stop after each of its steps.

        Args:
            random: the streams `order`, `augmentation`, `mixing` and `noise` of every network; all
                but the last are drawn for all of the epoch at once.
        """
        schedule, variety = self.schedule, self.variety
        # 0.58 of 100 is not 57, as floats have it.
        drops = [max(1, int(round(schedule.epochs * part, 6))) for part in variety.drops]
        if variety.restart_momentum and number - 1 in drops:
            torch._foreach_zero_(self.velocities)
        dropped = sum(number > drop for drop in drops)
        self.lr.fill_(self._first_lr * variety.drop_factor**dropped)
        self.ensemble.train()
        count, device = len(self.examples), self.lr.device
        orders = [torch.randperm(count, generator=own["order"]) for own in random]
        inputs = {"batch": torch.stack(orders)}
        for stream, draw in self._draws(count).items():
            moves = [draw(own[stream]) for own in random]
            inputs |= {name: torch.stack([one[name] for one in moves]) for name in moves[0]}
        inputs = {name: drawn.to(device, non_blocking=True) for name, drawn in inputs.items()}
        batches = [drawn.split(schedule.batch, dim=1) for drawn in inputs.values()]
        for batch in zip(*batches, strict=True):
            size = batch[0].shape[1]
            if size not in self._steps:
                self._steps[size] = Step(self)
            self._steps[size](dict(zip(inputs, batch, strict=True)), random)
            yield self._steps[size]

    def _draws(self, count: int) -> dict[str, Callable[[torch.Generator], dict[str, Tensor]]]:
        """What is drawn for the `count` images of an epoch, by the stream that it comes from."""
        variety, batch = self.variety, self.schedule.batch
        draws: dict[str, Callable[[torch.Generator], dict[str, Tensor]]] = {}
        if variety.kinds:
            draws["augmentation"] = functools.partial(self.way.draw, count, batch, variety.kinds)
        if variety.cutmix:
            draws["mixing"] = functools.partial(mixing.draw, count, batch, variety.cutmix)
        return draws


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
        self._repeated: Callable[[], None] = self._once
        if not sgd.way.PIXELS:
            self._repeated = graphs.Repeated(self._once, sgd.lr.device)

    def __call__(self, inputs: Mapping[str, Tensor], random: Sequence[Streams]) -> None:
        """Train on the images whose indices are `batch`, moved as the rest of `inputs` says."""
        if "noisy" in inputs:
            shape = inputs["batch"].shape[1], *self._sgd.examples.images.shape[1:]
            noise = [dc.noise(shape, own, self._sgd.lr.device) for own in random]
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
        mixed = {name: moves.pop(name) for name in ("partner", "box") if name in moves}
        images, labels = examples.normalised(self.batch), examples.labels[self.batch]
        if moves:
            more = {"data": examples.data} if self._sgd.way.PIXELS else {}
            images = self._sgd.way.transform(images, **moves, **more)
        if mixed:
            images, share = mixing.cut(images, **mixed)
        logits = ensemble(images)
        if self._sgd.labels is not None:
            losses = self._sgd.labels.losses(images, logits)
        else:
            losses = self._losses(logits, labels)
        if mixed and self._sgd.labels is None:
            index = self.batch.gather(1, mixed["partner"])
            other = self._losses(logits, examples.labels[index])
            losses = torch.lerp(losses, other, share)
        descend(
            ensemble.parameters,
            torch.autograd.grad(losses.mean(1).sum(), ensemble.parameters),
            self._sgd.velocities,
            lr=self._sgd.lr,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
        )
        self.logits, self.losses = logits.detach(), losses.detach()

    def _losses(self, logits: Tensor, labels: Tensor) -> Float[Tensor, "models batch"]:
        """The cross-entropy of every image with class indices or probabilities."""
        losses = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(0, 1), reduction="none"
        )
        return losses.view(self.batch.shape)
