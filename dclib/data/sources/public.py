"""Public data sets, which torchvision downloads and reads, or which are folders of pictures."""

import dataclasses
import hashlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dclib import arguments
from dclib.data import trees
from dclib.data.checks import Arrays, Facts
from dclib.data.choice import Counts
from dclib.data.published import SETS, Published
from dclib.data.sources import folder
from dclib.data.sources.settings import Options
from dclib.errors import InputError, one_line

log = logging.getLogger(__name__)

DATA_DIR_VARIABLE = "DCLIB_DATA_DIR"
NAMES = tuple(SETS)


def look(options: Options) -> Facts:
    told = SETS[options.source]
    smallest = told.counts if isinstance(told.counts, int) else min(told.counts)
    return Facts(told.channels, (told.size, told.size), smallest)


def counts(options: Options) -> Counts | None:
    told = SETS[options.source]
    if not told.names:
        return None
    each = [told.counts] * len(told.names) if isinstance(told.counts, int) else told.counts
    return Counts(told.names, each)


def read(options: Options, data_dir: str | Path | None) -> Arrays:
    """Read both splits, downloading what is not there and torchvision has, with retries."""
    source, told = options.source, SETS[options.source]
    root = data_dir or os.environ.get(DATA_DIR_VARIABLE) or "data"
    root = arguments.path(f"{options}: data_dir", root)
    if told.listing is not None:
        return _pictures(options, told, told.listing(options, root))
    import torchvision  # takes two seconds, which jobs that read no original files do without

    help_ = (
        f"expected in {(root / told.folder).absolute()}: on a machine with a network it is "
        "downloaded there; otherwise copy torchvision's files there, or name the folder that holds "
        f"them in data_dir or ${DATA_DIR_VARIABLE}"
    )
    original = getattr(torchvision.datasets, told.kind or source)

    def opened(download: bool) -> list[Any]:
        guard = _FilesAlone if download else _Checked
        kind = type(original.__name__, (guard, original), {})
        return [kind(root, **split, download=download) for split in told.splits]

    missing = _missing(source, told, root, help_)
    if missing:
        try:
            _retry(lambda: opened(download=True))
        except Exception as error:  # torchvision and urllib raise many kinds
            _missing(source, told, root, help_)
            raise InputError(
                f"{source}: {', '.join(missing)} not found, and the download failed "
                f"({one_line(error)}); {help_}"
            ) from error
        _missing(source, told, root, help_)
    train, test = (_split(told, split) for split in opened(download=False))
    return Arrays(*train, *test, told.names, told.mean, told.std)


def _pictures(options: Options, told: Published, listing: trees.Listing) -> Arrays:
    """The pictures of a listing, in colour, of the size that is asked for."""
    size = options.image_size or (told.size, told.size)
    arrays = folder.listed(dataclasses.replace(options, image_size=size), listing)
    colour: dict[str, Any] = {
        name: np.repeat(images, 3, axis=1) if images.shape[1] == 1 else images
        for name, images in (
            ("train_images", arrays.train_images),
            ("test_images", arrays.test_images),
        )
    }
    return arrays._replace(**colour, mean=told.mean, std=told.std)


class _FilesAlone:
    """Keeps torchvision to the files that were checked: it prefers what its old versions made."""

    def _check_legacy_exist(self) -> bool:
        return False


class _Checked(_FilesAlone):
    """Spares torchvision to check them again, and others that are not read."""

    def _check_integrity(self) -> bool:
        return True


def _missing(source: str, told: Published, root: Path, help_: str) -> list[str]:
    """The files that are not there; one that is there and not the original is refused."""
    missing = []
    for name, expected in told.files.items():
        path = root / told.folder / name
        if not path.exists():
            missing.append(name)
        elif expected != (path.stat().st_size if isinstance(expected, int) else _md5(path)):
            raise InputError(f"{source}: {path} is corrupt or cut short: delete it; {help_}")
    return missing


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return found.hexdigest()


def _split(told: Published, opened: Any) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(opened.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.transpose(0, 3, 1, 2)
    if told.transposed:
        images = images.swapaxes(2, 3)
    labels = np.asarray(opened.targets if hasattr(opened, "targets") else opened.labels)
    labels = labels if labels.ndim == 1 else labels[:, 0]  # QMNIST tells more of each image
    return images, labels.astype(np.int64) - told.first


def _retry(action: Callable[[], Any], attempts: int = 3, wait_seconds: float = 2.0) -> Any:
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except Exception as error:
            if attempt == attempts:
                raise
            why = one_line(error)
            log.warning("download failed (%s), attempt %d of %d", why, attempt, attempts)
            time.sleep(wait_seconds * attempt)
