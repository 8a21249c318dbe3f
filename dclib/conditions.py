"""Where settings differ: conditions on a point of a grid, as `dataset=MNIST method=dc`."""

import functools
from collections.abc import Iterator, Mapping
from typing import TypeVar

Told = TypeVar("Told")


def applying(where: Mapping[str, Told], point: Mapping[str, str]) -> Iterator[tuple[str, Told]]:
    """Yield what is told for conditions that hold at a point, each with these.

    A later one wins: those with more conditions come after those with fewer.

    Args:
        where: by conditions, as `dataset=MNIST ipc=1`.
        point: a value on each of their axes.
    """
    for key in sorted(where, key=lambda key: len(key.split())):
        if hold(dict(told.split("=") for told in key.split()), point):
            yield key, where[key]


def hold(conditions: Mapping[str, str], point: Mapping[str, str]) -> bool:
    """Return whether all conditions, by axis, hold at a point, which has a value on every axis."""
    return all(holds(axis, wanted, point[axis]) for axis, wanted in conditions.items())


def base(method: str) -> str:
    """Return the method that a variant, as `dc-mse`, or a snapshot, as `dc@100`, is one of."""
    return method.partition("@")[0].split("-")[0]


def methods(where: Mapping[str, Told]) -> list[str]:
    """Return the methods that are named in conditions, in order."""
    told = (part.split("=") for key in where for part in key.split())
    return list(dict.fromkeys(value for axis, value in told if axis == "method"))


@functools.cache
def holds(axis: str, wanted: str, value: str) -> bool:
    """Return whether a value on an axis is the wanted one.

    What is said of a method or a ConvNet holds for its variants, and what is said of `ipc=100+`
    from there on.
    """
    if axis == "ipc" and wanted.endswith("+") and wanted[:-1].isdecimal():
        return value.isdecimal() and int(value) >= int(wanted[:-1])
    if axis == "method":
        return wanted in (value, base(value))
    if axis in ("network", "tested"):
        name, *options = wanted.split("-")
        own, *more = value.split("-")
        return name == own and set(options) <= set(more)
    return wanted == value
