"""Training on a set as on any other: random batches, SGD, and augmentation if it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from dclib.networks.plans import Network
from dclib.seeding import Streams
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples
from dclib.training.recipes import require
from dclib.training.sgd import SGD, Schedule


@runtime_checkable
class Settings(Schedule, Protocol):
    """What has to be set besides the schedule."""

    @property
    def augmentation(self) -> Sequence[str]: ...
    @property
    def curve_points(self) -> int: ...


class Ordinary:
    """See the module."""

    def __init__(self, examples: Examples, settings: Settings) -> None:
        self.examples, self.settings, self.epochs = examples, settings, settings.epochs
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
            self._sgd = SGD(
                Ensemble(networks), self.examples, self.settings, self.settings.augmentation
            )
        for epoch in range(1, self.epochs + 1):
            for _ in self._sgd.epoch(epoch, random):
                pass
            if epoch in self.test_epochs:
                test(self._sgd.ensemble)
        return self._sgd.ensemble


def create(examples: Examples, settings: Settings, parameters: Mapping[str, Tensor]) -> Ordinary:
    """Return the recipe for a set.

    Raises:
        InputError: the set has parameters, of which this recipe takes none.
    """
    require("ordinary", parameters)
    return Ordinary(examples, settings)
