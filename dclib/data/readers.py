"""Reading image data sets from their original files: a public one by name, or a user's own."""

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dclib.data import checks, sources
from dclib.data.datasets import ImageDataset
from dclib.errors import InputError, did_you_mean, one_line

log = logging.getLogger(__name__)

DATA_DIR_VARIABLE = "DCLIB_DATA_DIR"

# Channel means and standard deviations of the training images, as the paper's code has them.
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "MNIST": ((0.1307,), (0.3081,)),
    "FashionMNIST": ((0.2861,), (0.3530,)),
    "SVHN": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "CIFAR10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
}
SOURCES = (*sources.PUBLIC, "folder", "npz")

Split = tuple[Tensor, Tensor]  # images uint8 [n, channels, height, width], labels int64 [n]


def read(
    source: str,
    *,
    name: str | None = None,
    data_dir: str | Path | None = None,
    path: str | Path | None = None,
    image_size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ImageDataset:
    """Read a data set from its original files.

    Args:
        source: MNIST, FashionMNIST, SVHN or CIFAR10 (downloaded to `data_dir` if they are not
            there); digits, which scikit-learn brings along; `folder`, images in train/CLASS/ and
            test/CLASS/; or `npz`, arrays train_images, train_labels, test_images, test_labels.
        name: what to call it; `source` if None.
        data_dir: where the four public data sets lie, in torchvision's layout. If None, the
            environment variable DCLIB_DATA_DIR, and without it the folder `data`.
        path: the folder or .npz file, for these two sources.
        image_size: pixels, height and width, to which every image is resized; None leaves them.
        mean, std: one number a channel; computed from the training images where there are none.

    Raises:
        InputError: unknown source, a missing or corrupt file, or images that do not fit together.
    """
    if source not in SOURCES:
        hint = did_you_mean(source, SOURCES)
        raise InputError(f"data set source '{source}' is not one of {', '.join(SOURCES)}{hint}")
    name = name or source
    size = None if image_size is None else sources.size_of(image_size)
    if source in ("folder", "npz") and path is None:
        raise InputError(f"data set '{name}': source '{source}' needs a path")
    facts = sources.look(source, name=name, path=path, image_size=image_size, mean=mean, std=std)
    if source == "digits":
        train, test, class_names = _read_digits()
    elif source == "folder":
        train, test, class_names = _read_folder(
            name, sources.own_path(name, str(path)), size, facts.channels
        )
    elif source == "npz":
        train, test, class_names = _read_npz(name, sources.own_path(name, str(path)))
    else:
        root = data_dir or os.environ.get(DATA_DIR_VARIABLE) or "data"
        train, test, class_names = _read_torchvision(source, sources.own_path(name, root))
    if size is not None:
        train = (_resize(train[0], size), train[1])
        test = (_resize(test[0], size), test[1])
    splits = dict(zip(checks.SPLITS, (train, test), strict=True))
    shapes = {split: tuple(images.shape) for split, (images, _) in splits.items()}
    labels = {split: labels.numpy() for split, (_, labels) in splits.items()}
    checks.check(f"data set '{name}'", shapes, labels, class_names)
    if mean is None or std is None:
        known = STATISTICS.get(source) or _statistics(train[0])
        mean, std = mean or known[0], std or known[1]
    return ImageDataset(name, *train, *test, tuple(mean), tuple(std), class_names)


def prepare(options: Mapping[str, Any], data_dir: str | Path | None, path: str | Path) -> None:
    """Read a data set and write it as one file to `path`.

    Args:
        options: `source`, and what else `read` takes.

    Raises:
        InputError: as `read` does, or the file cannot be written.
    """
    read(**{"data_dir": data_dir, **options}).save(path)


def _read_digits() -> tuple[Split, Split, tuple[str, ...]]:
    """Scikit-learn's 1,797 8x8 digits; of each class, in file order, every fifth is for testing."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    for c in range(10):
        is_test[torch.nonzero(labels == c).flatten()[4::5]] = True
    split = [(images[chosen], labels[chosen]) for chosen in (~is_test, is_test)]
    return split[0], split[1], tuple(str(c) for c in range(10))


def _read_torchvision(source: str, root: Path) -> tuple[Split, Split, tuple[str, ...]]:
    splits = []
    class_names: Sequence[str] = [str(c) for c in range(10)]
    for train in (True, False):
        opened = _open_torchvision(source, root, train)
        pixels, labels = (
            (opened.data, opened.labels) if source == "SVHN" else (opened.data, opened.targets)
        )
        images = torch.as_tensor(pixels)
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[-1] == 3:
            images = images.permute(0, 3, 1, 2)
        splits.append((images.contiguous(), torch.as_tensor(labels).to(torch.int64)))
        class_names = getattr(opened, "classes", class_names)
    return splits[0], splits[1], tuple(class_names)


def _open_torchvision(source: str, root: Path, train: bool) -> Any:
    """Open one split, downloading it if it is not there, with retries."""
    import torchvision  # takes two seconds, which jobs that read no original files do without

    kind = getattr(torchvision.datasets, source)
    split: dict[str, Any] = (
        {"split": "train" if train else "test"} if source == "SVHN" else {"train": train}
    )
    folder = root / {"CIFAR10": "cifar-10-batches-py", "SVHN": ""}.get(source, f"{source}/raw")
    help_ = (
        f"expected in {folder.absolute()}: on a machine with a network it is downloaded there; "
        f"otherwise copy torchvision's files there, or name the folder that holds them in data_dir "
        f"or ${DATA_DIR_VARIABLE}"
    )
    try:
        return kind(root, **split, download=False)
    except Exception as error:  # torchvision raises many kinds on a damaged file
        damaged = _damaged(kind, folder)
        if damaged:
            raise InputError(
                f"{source}: {folder / damaged} is corrupt or cut short: delete it; {help_}"
            ) from error
        if "not found" not in str(error):
            raise InputError(f"{source}: {one_line(error)}; {help_}") from error
    try:
        return _retry(lambda: kind(root, **split, download=True))
    except Exception as error:  # torchvision and urllib raise many kinds
        names = ", ".join(_file_names(kind))
        raise InputError(
            f"{source}: {names} not found, and the download failed ({one_line(error)}); {help_}"
        ) from error


def _file_names(kind: Any) -> list[str]:
    """The file names that a torchvision data set reads."""
    if hasattr(kind, "resources"):
        return [Path(name).stem for name, _ in kind.resources]
    if hasattr(kind, "train_list"):
        return [name for name, _ in [*kind.train_list, *kind.test_list]]
    return [kind.split_list[split][1] for split in ("train", "test")]


def _damaged(kind: Any, folder: Path) -> str | None:
    """The first file that is there and cannot be right: by its MD5, or by reading it (MNIST)."""
    from torchvision.datasets import mnist, utils

    sums = dict([*getattr(kind, "train_list", []), *getattr(kind, "test_list", [])])
    sums |= {name: md5 for _, name, md5 in getattr(kind, "split_list", {}).values()}
    for name in _file_names(kind):
        path = folder / name
        if not path.exists():
            continue
        if name in sums:
            if not utils.check_integrity(str(path), sums[name]):
                return name
            continue
        try:
            mnist.read_sn3_pascalvincent_tensor(str(path))
        except Exception:
            return name
    return None


def _retry(action: Callable[[], Any], attempts: int = 3, wait_seconds: float = 2.0) -> Any:
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except Exception as error:
            if attempt == attempts:
                raise
            log.warning("download failed (%s), attempt %d of %d", error, attempt, attempts)
            time.sleep(wait_seconds * attempt)


def _read_folder(
    name: str, root: Path, size: Sequence[int] | None, channels: int
) -> tuple[Split, Split, tuple[str, ...]]:
    """Images in train/CLASS/ and test/CLASS/, grey if `channels` is 1, else RGB."""
    from torchvision.transforms.v2.functional import pil_to_tensor

    listing = sources.list_images(name, root)
    splits = []
    for classes in listing.values():
        images = []
        for path in itertools.chain(*classes.values()):
            with sources.open_image(name, path) as opened:
                try:
                    image = pil_to_tensor(opened.convert("L" if channels == 1 else "RGB"))
                except Exception as error:  # Pillow raises many kinds
                    raise sources.unreadable(name, path, error) from error
            images.append(image if size is None else _resize(image[None], size)[0])
        counts = torch.tensor([len(part) for part in classes.values()])
        labels = torch.arange(len(counts)).repeat_interleave(counts)
        splits.append((torch.stack(images), labels))
    return splits[0], splits[1], tuple(listing["train"])


def _read_npz(name: str, path: Path) -> tuple[Split, Split, tuple[str, ...]]:
    """Arrays of uint8 images, [n, height, width] or with 1 or 3 channels second or last."""
    try:
        with np.load(path, allow_pickle=False) as opened:
            arrays = {key: opened[key] for key in {*checks.TENSOR_NAMES, "class_names"} & {*opened}}
    except Exception as error:  # zipfile and numpy raise many kinds
        raise sources.corrupt(name, path, error) from error
    splits = []
    for split in checks.SPLITS:
        images = arrays[f"{split}_images"]
        if images.ndim == 3:
            images = images[:, None]
        elif sources.channels_last(images.shape):
            images = images.transpose(0, 3, 1, 2)
        labels = arrays[f"{split}_labels"].astype(np.int64)
        splits.append((torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels)))
    names = sources.class_names(name, arrays["train_labels"], arrays.get("class_names"))
    return splits[0], splits[1], tuple(names)


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of every channel, to four digits; a flat channel counts as 1."""
    channels = images.transpose(0, 1).flatten(1)
    means, stds = [], []
    for pixels in channels:
        histogram = torch.bincount(pixels, minlength=256).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        mean = float((histogram * values).sum() / histogram.sum())
        variance = float((histogram * (values - mean) ** 2).sum() / histogram.sum())
        means.append(round(mean, 4))
        stds.append(round(math.sqrt(variance), 4) or 1.0)
    return tuple(means), tuple(stds)


def _resize(images: Tensor, size: Sequence[int]) -> Tensor:
    from torchvision.transforms.v2.functional import resize

    return resize(images, list(size), antialias=True).contiguous()
