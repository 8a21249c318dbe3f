"""The one exception for input that a user can mend, and the suggestion that goes with it."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A wrong setting, name or file. Its message is one line: what, the value, what is allowed."""


def did_you_mean(name: object, allowed: Iterable[object]) -> str:
    """Return `` (did you mean 'X'?)`` for the nearest of `allowed`, or an empty string."""
    names = {str(option).lower(): str(option) for option in allowed}
    near = difflib.get_close_matches(str(name).lower(), names, n=1)
    return f" (did you mean '{names[near[0]]}'?)" if near else ""


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
