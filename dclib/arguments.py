"""What is given to the library's functions: refused in one line, or as they take it."""

import contextlib
import operator
import os
import reprlib
from pathlib import Path
from typing import Any

from dclib.errors import InputError, one_line


def told(value: Any) -> str:
    """Return a value as a message names it: a short one itself, of any other its type."""
    plain = value is None or isinstance(value, str | bytes | bool | int | float | Path)
    return reprlib.repr(value) if plain else f"of type {type(value).__name__}"


def instance(what: str, value: Any, kind: type, allowed: str) -> None:
    """Refuse what is of another type.

    Raises:
        InputError: it is.
    """
    if not isinstance(value, kind):
        raise InputError(f"{what} is {told(value)}; allowed is {allowed}")


def text(what: str, value: Any, allowed: str) -> str:
    """Return a name.

    Raises:
        InputError: it is no text.
    """
    instance(what, value, str, allowed)
    return str(value)


def whole(what: str, value: Any, least: int) -> int:
    """Return a whole number, one of NumPy's or PyTorch's too, as Python's.

    Raises:
        InputError: it is none, or below `least`.
    """
    shown = told(value)
    number = least - 1
    with contextlib.suppress(TypeError, ValueError, RuntimeError):
        number = operator.index(value)
        shown = repr(number)
    truth = isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))
    several: Any = getattr(value, "shape", None)
    if truth or number < least or several:
        raise InputError(
            f"{what} is {told(value) if truth else shown}; allowed is a whole number from {least}"
        )
    return number


def path(what: str, value: Any) -> Path:
    """Return a path, with `~` expanded.

    Raises:
        InputError: it is none, or there is no such home.
    """
    if not isinstance(value, str | os.PathLike) or not str(value) or "\0" in str(value):
        raise InputError(f"{what} is {told(value)}; allowed is the path of a file or a folder")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise InputError(f"{what}: {value}: {one_line(error)}") from error
