"""The methods that make a set: one folder each, of a light face and a body.

A folder is called what the configuration calls the method. Its `settings.py`, which needs no
PyTorch, has `FACE`; its `method.py` has `create` if the set is learnt, `select` if it consists of
real images. What several methods share stands beside the folders. No list of methods stands
anywhere, so that a new one is a new folder, and a change of one leaves the results of others valid.
"""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal

from dclib.data.checks import Facts
from dclib.errors import InputError, did_you_mean
from dclib.fields import settings
from dclib.networks.names import Spec

KINDS = ("selected", "learnt", "whole", "imported")


@settings
class NoSettings:
    """A method that has nothing to set."""


def everything(settings: Any, network: Spec, ipc: int) -> dict[str, Any]:
    """Return all settings: each of them can touch the result."""
    return dataclasses.asdict(settings)


@dataclasses.dataclass(frozen=True)
class Face:
    """What planning has to know of a method.

    Attributes:
        settings: the dataclass of its settings: the only place of their ranges, their meaning and
            their defaults.
        kind: `selected` real images, `learnt` ones, the `whole` training split, or `imported` from
            somebody's file, under names that a configuration chooses.
        teachers: the networks trained on real images that it needs, folders of `dclib.teachers`.
        seeded: whether the set depends on the seed.
        batchnorm: whether it takes networks with BatchNorm.
        recipe: how to train on its sets, a module of `dclib.training.recipes`.
        grows: the settings of which more means to go on from where less has ended, to the same
            bytes as in one go. None where the schedule depends on the number.
        protocol: the way in which its authors train and test networks on its sets.
        where: by conditions, as overrides of a configuration are, the settings that differ there.
            They hold where a configuration says nothing, those of a variant where it says nothing
            of that or by an override; the name of a data set stands for its source.
        fault: settings, network, images per class, and a data set's name and facts give what is
            wrong with them together, or nothing.
        relevant: settings, network and images per class give the settings, resolved, that can touch
            the set: with the others the same set would come out. Their values are like JSON.
        peak_bytes: settings, `activation_bytes` (of one image's forward pass, for the way back),
            `parameters` (how many the network has), classes and images per class give the bytes
            that making the set on a CPU takes at its peak, besides data and network.
        batchnorm_bytes: the same with BatchNorm, if that is another number.
    """

    settings: type[Any]
    kind: Literal["selected", "learnt", "whole", "imported"]
    teachers: tuple[str, ...] = ()
    seeded: bool = True
    batchnorm: bool = True
    recipe: str = "ordinary"
    grows: tuple[str, ...] = ()
    protocol: str = "dc"
    where: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    fault: Callable[[Any, Spec, int, str, Facts], str] | None = None
    relevant: Callable[[Any, Spec, int], dict[str, Any]] = everything
    peak_bytes: Callable[[Any, int, int, int, int], int] | None = None
    batchnorm_bytes: Callable[[Any, int, int, int, int], int] | None = None


def names() -> list[str]:
    """Return all methods: selections, those without a teacher first, then learnt ones, `whole`."""
    every = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    found = [name for name in every if face(name).kind != "imported"]
    return sorted(found, key=lambda name: (KINDS.index(face(name).kind), face(name).teachers, name))


@functools.cache
def face(name: str) -> Face:
    """Return what planning has to know of the method `name`.

    Raises:
        InputError: there is none of this name.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
    if name not in known:
        raise InputError(
            f"method '{name}' is not one of {', '.join(known)}{did_you_mean(name, known)}"
        )
    found: Face = importlib.import_module(f"{__name__}.{name}.settings").FACE
    return found


def body(name: str) -> ModuleType:
    """Return the module that makes the sets of method `name`; it imports PyTorch.

    Raises:
        InputError: there is none of this name.
    """
    face(name)
    return importlib.import_module(f"{__name__}.{name}.method")
