"""How a set says that it wants to be trained on, one module a recipe.

A recipe is called what its module is called, and the module has `create(examples, settings,
parameters, teacher)`, which returns a `Recipe`. No list of them stands anywhere.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from dclib.errors import InputError, did_you_mean
from dclib.networks.plans import Network
from dclib.seeding import Streams
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples


@runtime_checkable
class Recipe(Protocol):
    """How networks are trained on a set.

    Attributes:
        epochs: passes over the set.
        test_epochs: those after which a network is tested, the last one among them.
        batch: images of a step.
    """

    epochs: int
    test_epochs: Sequence[int]
    batch: int

    def initialise(self, network: Network) -> None:
        """Change the parameters of a network that has PyTorch's default ones; draws globally."""
        ...

    def train(
        self,
        networks: Sequence[Network],
        random: Sequence[Streams],
        test: Callable[[Ensemble], None],
    ) -> Ensemble:
        """Train networks, each with its streams, and call `test` after each of `test_epochs`."""
        ...


def create(
    name: str,
    examples: Examples,
    settings: Any,
    parameters: Mapping[str, Tensor],
    teacher: nn.Module | None = None,
) -> Recipe:
    """Return the recipe `name` for a set.

    Args:
        examples: the images and labels of the set.
        settings: those of the evaluation.
        parameters: what the set says besides.
        teacher: what labels the images, where the set does not.

    Raises:
        InputError: there is no such recipe, or the set does not fit it.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise InputError(
            f"recipe '{name}' is not one of {', '.join(known)}{did_you_mean(name, known)}"
        )
    made: Recipe = importlib.import_module(f"{__name__}.{name}").create(
        examples, settings, parameters, teacher
    )
    return made


def require(recipe: str, parameters: Mapping[str, Tensor], *names: str) -> None:
    """Raise InputError if a set has not just the parameters that its recipe takes."""
    if set(parameters) != set(names):
        raise InputError(
            f"recipe '{recipe}' takes {', '.join(names) or 'no parameter'}, the set has "
            f"{', '.join(sorted(parameters)) or 'none'}"
        )
