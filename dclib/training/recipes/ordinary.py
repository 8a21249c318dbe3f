"""Training on a set as on any other: random batches, SGD, and augmentation if it is asked for."""

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from dclib.errors import InputError
from dclib.networks.plans import Network
from dclib.seeding import Streams
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples
from dclib.training.kinds import Way
from dclib.training.recipes import require
from dclib.training.sgd import SGD, Schedule, Soft, Variety


@runtime_checkable
class Settings(Schedule, Protocol):
    """What has to be set besides the schedule."""

    @property
    def own_lr(self) -> bool: ...
    @property
    def augmentation(self) -> Sequence[str]: ...
    @property
    def augmentation_way(self) -> Way: ...
    @property
    def cutmix(self) -> float: ...
    @property
    def lr_drops(self) -> Sequence[float]: ...
    @property
    def lr_drop_factor(self) -> float: ...
    @property
    def restart_momentum(self) -> bool: ...
    @property
    def temperature(self) -> float: ...
    @property
    def curve_points(self) -> int: ...


class Ordinary:
    """See the module."""

    def __init__(
        self,
        examples: Examples,
        settings: Settings,
        lr: float | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        """Prepare the training of networks.

        Args:
            lr: the learning rate, if it is not that of the settings.
            teacher: what labels the images of every batch, if the examples' labels do not count.
        """
        self.examples, self.settings, self.epochs = examples, settings, settings.epochs
        self.lr = settings.lr if lr is None else lr
        self.labels = None if teacher is None else Soft(teacher, settings.temperature)
        self.batch = min(settings.batch, len(examples))
        self._sgd: SGD | None = None  # of as many networks as were trained at last
        points = min(settings.curve_points, self.epochs)
        self.test_epochs = [-(-self.epochs * (point + 1) // points) for point in range(points)]

    def initialise(self, network: Network) -> None:
        """Leave PyTorch's default."""

    def train(
        self,
        networks: Sequence[Network],
        random: Sequence[Streams],
        test: Callable[[Ensemble], None],
    ) -> Ensemble:
        """Train networks side by side, and call `test` after each of `test_epochs`.

        The next networks take the place of these in memory, if they are as many.
        """
        if self._sgd is not None and self._sgd.ensemble.size == len(networks):
            self._sgd.restart(networks)
        else:
            self._sgd = None  # what it holds on a GPU is free before others are warmed up
            gc.collect()
            self._sgd = SGD(
                Ensemble(networks),
                self.examples,
                self.settings,
                self._variety(),
                self.lr,
                self.labels,
            )
        for epoch in range(1, self.epochs + 1):
            for _ in self._sgd.epoch(epoch, random):
                pass
            if epoch in self.test_epochs:
                test(self._sgd.ensemble)
        return self._sgd.ensemble

    def _variety(self) -> Variety:
        settings = self.settings
        return Variety(
            settings.augmentation_way,
            settings.augmentation,
            settings.cutmix,
            settings.lr_drops,
            settings.lr_drop_factor,
            settings.restart_momentum,
        )


def create(
    examples: Examples,
    settings: Settings,
    parameters: Mapping[str, Tensor],
    teacher: nn.Module | None = None,
) -> Ordinary:
    """Return the recipe for a set.

    Args:
        parameters: none, or `lr`, a learning rate that the set brings.
        teacher: what labels the images of every batch, if the set does not.

    Raises:
        InputError: the set has other parameters, or no learning rate that networks can be trained
            with.
    """
    require("ordinary", {name: value for name, value in parameters.items() if name != "lr"})
    if "lr" not in parameters or not settings.own_lr:
        return Ordinary(examples, settings, None, teacher)
    if parameters["lr"].numel() != 1 or not 0 < (lr := float(parameters["lr"])) < math.inf:
        raise InputError(
            f"recipe 'ordinary' takes one lr above 0, the set has {parameters['lr'].tolist()}"
        )
    return Ordinary(examples, settings, lr, teacher)
