"""A user's .npz: arrays train_images, train_labels, test_images, test_labels, maybe class_names."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dclib.data.checks import SPLITS, TENSOR_NAMES, Arrays, Facts, check, expanded
from dclib.data.sources.settings import Options
from dclib.errors import InputError, one_line


def look(options: Options) -> Facts:
    return check(str(options), _arrays(options, pixels=False))


def read(options: Options, data_dir: str | Path | None) -> Arrays:
    return _arrays(options, pixels=True)


def content(options: Options) -> list[tuple[str, Path]]:
    return [(".", _file(options))]


def _file(options: Options) -> Path:
    path = expanded(str(options), options.path or "")
    if not path.is_file():
        raise InputError(
            f"{options}: no file {path}; expected an .npz with {', '.join(TENSOR_NAMES)}"
        )
    return path


def _arrays(options: Options, *, pixels: bool) -> Arrays:
    """What is in the file; without `pixels`, images are black, and take no memory."""
    path = _file(options)
    with path.open("rb") as stream:
        try:
            archive = zipfile.ZipFile(stream)
            members = [member.removesuffix(".npy") for member in archive.namelist()]
            missing = [key for key in TENSOR_NAMES if key not in members]
            if missing:
                raise InputError(
                    f"{options}: {path} has no array {missing[0]}; it has "
                    f"{', '.join(members) or 'none'}"
                )
            labels = {split: _labels(options, archive, f"{split}_labels") for split in SPLITS}
            names = _array(archive, "class_names") if "class_names" in members else None
            class_names = _class_names(options, labels["train"], names)
            images = {
                split: _images(options, archive, f"{split}_images", pixels) for split in SPLITS
            }
        except InputError:
            raise
        except Exception as error:  # zipfile and numpy raise many kinds
            raise InputError(f"{options}: {path} is corrupt ({one_line(error)})") from error
    return Arrays(images["train"], labels["train"], images["test"], labels["test"], class_names)


def _array(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _labels(options: Options, archive: zipfile.ZipFile, key: str) -> np.ndarray:
    labels = _array(archive, key)
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise InputError(
            f"{options}: {key} in {archive.filename} is {labels.dtype} of shape {labels.shape}; "
            "allowed are integers of shape [n]"
        )
    return labels


def _class_names(options: Options, labels: np.ndarray, names: np.ndarray | None) -> Sequence[str]:
    """The classes as they are named, else the numbers up to the largest."""
    if names is None:
        return [str(c) for c in np.unique(labels[labels >= 0])]
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) < len(names):
        raise InputError(
            f"{options}: class_names is {names.dtype} of shape {names.shape}; allowed are texts of "
            "shape [classes], no name twice"
        )
    return names.tolist()


def _images(options: Options, archive: zipfile.ZipFile, key: str, pixels: bool) -> np.ndarray:
    """Images of shape [n, channels, height, width]; in the file channels may be last, or left out.

    Which of them they are is told from the header, before there is memory for the pixels.
    """
    with archive.open(f"{key}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = header(stream)
    if dtype != np.uint8 or len(shape) not in (3, 4):
        raise InputError(
            f"{options}: {key} in {archive.filename} is {dtype} of shape {shape}; allowed is uint8 "
            "of shape [n, h, w], [n, c, h, w] or [n, h, w, c]"
        )
    images = _array(archive, key) if pixels else np.broadcast_to(np.uint8(0), shape)
    if len(shape) == 3:
        return images[:, None]
    channels_last = shape[1] not in (1, 3) and shape[3] in (1, 3)
    return images.transpose(0, 3, 1, 2) if channels_last else images
