"""What is in a folder, links included."""

import os
from pathlib import Path

from dclib.errors import InputError


def files_in(folder: Path, inside: frozenset[str] = frozenset()) -> list[Path]:
    """Return all files in a folder and the folders in it, in order; links are followed.

    Args:
        inside: the folders that `folder` is in.

    Raises:
        InputError: a link leads back to a folder that it is in.
    """
    place = os.path.realpath(folder)
    if place in inside:
        raise InputError(f"{folder}: a link that leads back to {place}, which it is in")
    found = []
    for path in sorted(folder.iterdir()):
        found += files_in(path, inside | {place}) if path.is_dir() else [path]
    return found
