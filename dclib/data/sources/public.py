"""Public data sets that torchvision downloads and reads; each is told once, in one entry."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dclib.data.checks import Arrays, Facts, expanded
from dclib.data.sources.settings import Options
from dclib.errors import InputError, one_line

log = logging.getLogger(__name__)

DATA_DIR_VARIABLE = "DCLIB_DATA_DIR"


class Published(NamedTuple):
    """A data set that torchvision has under the same name.

    Attributes:
        facts: what a plan has to know.
        mean, std: of every channel of the training images, as the paper's code has them.
        folder: where its files are, below the folder of all data sets.
        files: the MD5 of each file that is read.
        splits: the arguments by which torchvision opens the training and the test split.
    """

    facts: Facts
    mean: tuple[float, ...]
    std: tuple[float, ...]
    folder: str
    files: Mapping[str, str]
    splits: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"train": True}, {"train": False})


SETS = {
    "MNIST": Published(
        facts=Facts(channels=1, image_size=(28, 28), smallest_class=5421),
        mean=(0.1307,),
        std=(0.3081,),
        folder="MNIST/raw",
        files={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
    ),
    "FashionMNIST": Published(
        facts=Facts(channels=1, image_size=(28, 28), smallest_class=6000),
        mean=(0.2861,),
        std=(0.3530,),
        folder="FashionMNIST/raw",
        files={
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
    ),
    "SVHN": Published(
        facts=Facts(channels=3, image_size=(32, 32), smallest_class=4659),
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        folder="",
        files={
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
        splits=({"split": "train"}, {"split": "test"}),
    ),
    "CIFAR10": Published(
        facts=Facts(channels=3, image_size=(32, 32), smallest_class=5000),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        folder="cifar-10-batches-py",
        files={
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
    ),
}
NAMES = tuple(SETS)


def look(options: Options) -> Facts:
    return SETS[options.source].facts


def read(options: Options, data_dir: str | Path | None) -> Arrays:
    """Read both splits, downloading what is not there, with retries."""
    import torchvision  # takes two seconds, which jobs that read no original files do without

    source, told = options.source, SETS[options.source]
    root = expanded(str(options), data_dir or os.environ.get(DATA_DIR_VARIABLE) or "data")
    help_ = (
        f"expected in {(root / told.folder).absolute()}: on a machine with a network it is "
        "downloaded there; otherwise copy torchvision's files there, or name the folder that holds "
        f"them in data_dir or ${DATA_DIR_VARIABLE}"
    )
    kind = type(source, (_FilesAlone, getattr(torchvision.datasets, source)), {})

    def opened(download: bool) -> list[Any]:
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
    train, test = opened(download=False)
    class_names = getattr(train, "classes", [str(c) for c in range(10)])
    return Arrays(*_split(train), *_split(test), class_names, told.mean, told.std)


class _FilesAlone:
    """Keeps torchvision to the files that were checked: it prefers what its old versions made."""

    def _check_legacy_exist(self) -> bool:
        return False


def _missing(source: str, told: Published, root: Path, help_: str) -> list[str]:
    """The files that are not there; one that is there and not the original is refused."""
    missing = []
    for name, md5 in told.files.items():
        path = root / told.folder / name
        if not path.exists():
            missing.append(name)
            continue
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        if found.hexdigest() != md5:
            raise InputError(f"{source}: {path} is corrupt or cut short: delete it; {help_}")
    return missing


def _split(opened: Any) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(opened.data)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.transpose(0, 3, 1, 2)
    return images, np.asarray(opened.targets if hasattr(opened, "targets") else opened.labels)


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
