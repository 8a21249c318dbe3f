"""The exceptions for input that a user can mend, and the words that go with them."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
    """A wrong setting, name or file. Its message is one line: what, the value, what is allowed.

    Names and texts may come from anywhere: what cannot be printed is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Damaged(InputError):
    """A file whose bytes are not those that were written; `path` has to be made again."""

    def __init__(
        self, path: str | Path, fault: str = "damaged, it does not fit its fingerprint"
    ) -> None:
        super().__init__(f"{path}: {fault}")
        self.path = Path(path)


def printable(text: str) -> str:
    """Return a text on one line of characters that a terminal shows and UTF-8 can hold.

    Line breaks, escape sequences and bytes of a file name that are no text are written as Python
    writes them.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def did_you_mean(name: object, allowed: Iterable[object]) -> str:
    """Return `` (did you mean 'X'?)`` for the nearest of `allowed`, or an empty string.

    Where it is the first part of some, as EMNIST of EMNIST-letters, these are nearest.
    """
    names = {str(option).lower(): str(option) for option in allowed}
    if parts := [names[key] for key in names if key.startswith(f"{str(name).lower()}-")]:
        return f" (did you mean one of {', '.join(parts)}?)"
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    return f" (did you mean '{names[near[0]]}'?)" if near else ""


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
