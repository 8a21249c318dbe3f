"""A user's .npz of images and labels, as MedMNIST or Keras lay it out.

It has `train_images`, `train_labels`, `test_images`, `test_labels`, perhaps `val_images` and
`val_labels`, and `class_names`; `x_train`, `y_train` and so on are the same. Bytes may be in any
order and arrays in any layout.
"""

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dclib import arguments
from dclib.data import choice
from dclib.data.checks import Arrays, Facts, check
from dclib.data.sources.settings import Options
from dclib.errors import InputError, one_line

log = logging.getLogger(__name__)

SPLITS = {"train": "train", "test": "test", "validation": "val"}  # as they are called in the file
KERAS = {f"{split}_{part}": f"{short}_{split}" for split in SPLITS.values()
         for part, short in (("images", "x"), ("labels", "y"))}  # fmt: skip
_ROUNDING = 1e-3  # by which floats may go beyond 0 and 1
_SHAPES = "[n, h, w], [n, c, h, w] or [n, h, w, c] with 1 or 3 channels"


def look(options: Options) -> Facts:
    return check(str(options), _arrays(options, pixels=False))


def counts(options: Options) -> choice.Counts:
    return choice.count(_arrays(options, pixels=False))


def read(options: Options, data_dir: str | Path | None) -> Arrays:
    return _arrays(options, pixels=True)


def content(options: Options) -> list[tuple[str, Path]]:
    return [(".", _file(options))]


def _file(options: Options) -> Path:
    path = arguments.path(f"{options}: path", options.path)
    if not path.is_file():
        raise InputError(
            f"{options}: no file {path}; expected an .npz with {', '.join([*KERAS][:4])}"
        )
    return path


def _arrays(options: Options, *, pixels: bool) -> Arrays:
    """What is in the file; without `pixels`, images are black, and take no memory."""
    path = _file(options)
    with path.open("rb") as stream:
        try:
            return _Archive(options, path, zipfile.ZipFile(stream)).arrays(pixels)
        except InputError:
            raise
        except Exception as error:  # zipfile and numpy raise many kinds
            raise InputError(f"{options}: {path} is corrupt ({one_line(error)})") from error


class _Archive:
    """An open file."""

    def __init__(self, options: Options, path: Path, archive: zipfile.ZipFile) -> None:
        self._options, self._path, self._archive = options, path, archive
        self._members = [member.removesuffix(".npy") for member in archive.namelist()]
        own = {split: [f"{name}_images", f"{name}_labels"] for split, name in SPLITS.items()}
        keys = {split: [self._called(key) for key in pair] for split, pair in own.items()}
        missing = [key for split in ("train", "test") for key in keys[split]]
        if any(key in self._members for key in keys["validation"]):
            missing += keys["validation"]
        else:
            del keys["validation"]
        if missing := [key for key in missing if key not in self._members]:
            raise InputError(
                f"{options}: {path} has no array {missing[0]}; it has "
                f"{', '.join(self._members) or 'none'}"
            )
        self._keys = keys

    def _called(self, key: str) -> str:
        """What an array is called in the file."""
        return KERAS[key] if key not in self._members and KERAS[key] in self._members else key

    def arrays(self, pixels: bool) -> Arrays:
        labels = {split: self._labels(key) for split, (_, key) in self._keys.items()}
        names = self._class_names(labels)
        images = {split: self._images(key, pixels) for split, (key, _) in self._keys.items()}
        if pixels:
            images = self._pixels(images)
        given: dict[str, Any] = {f"{split}_images": found for split, found in images.items()}
        given |= {f"{split}_labels": self._indices(labels, split, names) for split in labels}
        return Arrays(**given, class_names=names)

    def _refused(self, key: str, what: str, allowed: str) -> InputError:
        return InputError(f"{self._options}: {key} in {self._path} {what}; allowed {allowed}")

    def _header(self, key: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and type, told before there is memory for the array."""
        with self._archive.open(f"{key}.npy") as stream:
            version = np.lib.format.read_magic(stream)
            header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = header(stream)
        if dtype.hasobject:
            raise self._refused(
                key,
                "holds Python objects, which only unpickling reads",
                "are numbers, and texts of a fixed length, as np.array(names, dtype=str) makes",
            )
        return shape, dtype

    def _array(self, key: str) -> np.ndarray:
        self._header(key)
        with self._archive.open(f"{key}.npy") as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _labels(self, key: str) -> np.ndarray:
        """One label an image: an integer, or the name of its class."""
        shape, dtype = self._header(key)
        allowed = "is one label an image: integers from 0, or texts, of shape [n] or [n, 1]"
        if len(shape) == 2 and shape[1] > 1:
            rows = self._array(key)
            alone = bool(((rows != 0).sum(1) == 1).all())
            what = "one-hot: store labels.argmax(1)" if alone else "multi-label: choose one"
            raise self._refused(
                key, f"has {shape[1]} numbers an image, shape {shape} ({what})", allowed
            )
        if len(shape) not in (1, 2) or dtype.kind not in "iufbUS":
            raise self._refused(key, f"is {dtype} of shape {shape}", allowed)
        labels = self._array(key).reshape(-1)
        if dtype.kind == "S":
            return np.char.decode(labels, "utf-8")
        if dtype.kind == "f":
            labels = labels.astype(np.float64)
            if not (np.isfinite(labels) & (labels == np.floor(labels))).all():
                raise self._refused(key, "has numbers that are not whole", allowed)
            if len(labels) and abs(labels).max() > 2**31:
                raise self._refused(key, f"has a label {abs(labels).max():g}", allowed)
            return labels.astype(np.int64)
        return labels.astype(np.uint8) if dtype.kind == "b" else labels

    def _class_names(self, labels: dict[str, np.ndarray]) -> Sequence[str]:
        """The classes as they are named, else texts in order, or the numbers of the labels."""
        if "class_names" in self._members:
            names = self._array("class_names")
            if names.dtype.kind == "S":
                names = np.char.decode(names, "utf-8")
            if names.ndim != 1 or names.dtype.kind != "U" or len({*names.tolist()}) < len(names):
                raise self._refused(
                    "class_names",
                    f"is {names.dtype} of shape {names.shape}",
                    "are texts of shape [classes], no name twice",
                )
            return [str(name) for name in names]
        texts = [self._keys[split][1] for split, own in labels.items() if own.dtype.kind == "U"]
        if len(texts) not in (0, len(labels)):
            raise self._refused(texts[0], "has texts, and another split numbers", "is one of both")
        return [str(label) for label in np.unique(labels["train"])]

    def _indices(
        self, labels: dict[str, np.ndarray], split: str, names: Sequence[str]
    ) -> np.ndarray:
        """The labels of a split as indices of the classes."""
        own, key = labels[split], self._keys[split][1]
        if own.dtype.kind == "U":
            index = {name: i for i, name in enumerate(names)}
            if unknown := [label for label in np.unique(own).tolist() if label not in index]:
                raise self._refused(key, f"has '{unknown[0]}'", f"is one of {', '.join(names)}")
            return np.array([index[label] for label in own.tolist()], dtype=np.int64)
        if "class_names" in self._members or not len(own) or not len(labels["train"]):
            return own  # which `check` holds against the number of names
        there = np.unique(labels["train"])
        if int(there[0]) < 0:
            raise self._refused(
                self._keys["train"][1],
                f"has the label {there[0]}, which mostly stands for images without one",
                "are labels from 0: leave these images out",
            )
        if not np.array_equal(there, np.arange(len(there))):
            shift = int(there[0]) > 0 and int(there[-1]) - int(there[0]) == len(there) - 1
            mend = (
                f"store labels - {there[0]}"
                if shift
                else "store np.searchsorted(np.unique(labels), labels), or name all in class_names"
            )
            raise self._refused(
                self._keys["train"][1],
                f"has {len(there)} labels from {there[0]} to {there[-1]}",
                f"are all labels from 0 to {len(there) - 1}: {mend}",
            )
        return own

    def _images(self, key: str, pixels: bool) -> np.ndarray:
        """Images of shape [n, channels, height, width], of any type."""
        shape, dtype = self._header(key)
        if dtype.kind not in "uifb" or dtype.itemsize > 8:
            raise self._refused(key, f"is {dtype} of shape {shape}", "are numbers from 0 to 255")
        if len(shape) not in (3, 4):
            raise self._refused(key, f"has shape {shape}", f"is {_SHAPES}")
        if len(shape) == 4 and not {shape[1], shape[3]} & {1, 3}:
            if shape[3] == 4 or shape[1] == 4:
                why = "4 channels (with transparency? images[..., :3] is without)"
            elif 2 in (shape[1], shape[3]):
                why = "2 channels (grey with transparency? images[..., 0] is without)"
            else:
                why = f"{shape[3]} channels (volumes are no images here)"
            raise self._refused(key, f"has {why}, shape {shape}", f"is {_SHAPES}")
        images = self._array(key) if pixels else np.broadcast_to(np.uint8(0), shape)
        if len(shape) == 3:
            return images[:, None]
        first, last = shape[1] in (1, 3), shape[3] in (1, 3)
        if pixels and first and last:
            log.warning(
                "%s: %s of shape %s is taken for [n, c, h, w]; it could be [n, h, w, c]",
                self._options, key, shape,
            )  # fmt: skip
        return images if first else images.transpose(0, 3, 1, 2)

    def _pixels(self, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Images as uint8.

        Numbers from 0 to 255 are pixels, rounded if they are floats. If they are all from 0 to 1,
        over all splits, and some are floats or truth values, they are multiplied by 255 first.
        """
        if all(own.dtype == np.uint8 or not own.size for own in images.values()):
            return {split: own.astype(np.uint8, copy=False) for split, own in images.items()}
        ends = {k: (float(own.min()), float(own.max())) for k, own in images.items() if own.size}
        low, high = (float(pick([*ends.values()])) for pick in (np.min, np.max))
        of_one = [k for k in ends if images[k].dtype.kind in "fb" and ends[k][1] <= 1 + _ROUNDING]
        ones = bool(of_one) and high <= 1 + _ROUNDING
        if not (low >= (-_ROUNDING if ones else 0) and high <= 255):  # nor NaN
            mend = "store (images / 257).round().astype(np.uint8)" if high == 65535 else (
                "scale them to that"
            )  # fmt: skip
            raise self._refused(
                self._keys["train"][0],
                f"and the other images have numbers from {low:g} to {high:g}",
                f"are numbers from 0 to 255, or floats from 0 to 1: {mend}",
            )
        if not ones and (bright := [k for k in of_one if ends[k][1] > 0]):
            raise self._refused(
                self._keys[bright[0]][0],
                f"has {images[bright[0]].dtype} numbers from {ends[bright[0]][0]:g} to "
                f"{ends[bright[0]][1]:g}, and others go to {high:g}",
                "is one range for all images, from 0 to 255 or floats from 0 to 1",
            )
        if any(own.dtype.kind in "fb" for own in images.values()):
            log.info(
                "%s: numbers from %g to %g are taken for pixels from 0 to %s",
                self._options, low, high, 1 if ones else 255,
            )  # fmt: skip
        return {split: _levels(own, 255 if ones else 1) for split, own in images.items()}


def _levels(images: np.ndarray, scale: int) -> np.ndarray:
    """Numbers from 0 to 255 / scale as uint8."""
    if images.dtype.kind in "fb":
        return np.rint((images * np.float32(scale)).clip(0, 255)).astype(np.uint8)
    return images.astype(np.uint8) * np.uint8(scale)
