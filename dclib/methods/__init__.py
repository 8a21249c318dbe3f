"""The methods that make a synthetic set, one module each, behind one interface.

An iterative method's module has a dataclass `Settings` and `create(network, settings, device)`. No
list of methods stands here, so that a change of one leaves the results of the others valid.
"""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet
from dclib.seeding import Streams

Metrics = Mapping[str, Tensor]  # scalars; `loss` goes into the trace


@runtime_checkable
class Resumable(Protocol):
    """What changes from one step to the next. `random` is kept by the runner."""

    random: Streams

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor that changes; the runner copies them."""
        ...

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to where `state_dict` was called."""
        ...


State = TypeVar("State", bound=Resumable)


@runtime_checkable
class Method(Protocol[State]):
    """An iterative method. `runner.run` gives it checkpoints, progress, a trace and provenance."""

    network: str
    settings: Any  # a dataclass; it and the network are part of what a checkpoint has to fit
    iterations: int

    def start(self, data: ImageDataset, ipc: int, random: Streams) -> State:
        """Return the state before the first iteration."""
        ...

    def step(self, state: State) -> Metrics:
        """Do one outer iteration, in place."""
        ...

    def result(self, state: State) -> SyntheticSet:
        """Return the set that the state stands for."""
        ...
