"""Image data sets: uint8 images and labels of both splits, and the file that holds them."""

import dataclasses
import functools
import math
import numbers
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dclib import arguments, provenance
from dclib.data import checks
from dclib.data.checks import TENSOR_NAMES, VALIDATION_NAMES, Arrays
from dclib.errors import Damaged, InputError
from dclib.tensors import described, fingerprint, is_dense, read_tensors, write_tensors

_BLACK = np.uint8(0)  # for images of which the shapes count
_NAMES = (*TENSOR_NAMES, *VALIDATION_NAMES)
_TYPES = {name: (torch.int64, 1) if "labels" in name else (torch.uint8, 4) for name in _NAMES}
_DESCRIBED: Mapping[str, tuple[Any, str]] = {
    "mean": (numbers.Real, "numbers"),
    "std": (numbers.Real, "numbers"),
    "class_names": (str, "texts"),
}


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """The splits of an image data set.

    Attributes:
        name: what paths and tables call it.
        train_images: uint8, 0 to 255.
        train_labels: class indices.
        test_images: as those of the training split.
        test_labels: as those of the training split.
        mean: one number a channel, of pixel values scaled to [0, 1].
        std: likewise.
        class_names: one a class, in the order of the labels.
        validation_images: what is neither trained on nor tested on at the end; None where nothing
            is held out.
        validation_labels: likewise.
    """

    name: str
    train_images: UInt8[Tensor, "train channels height width"]
    train_labels: Int64[Tensor, " train"]
    test_images: UInt8[Tensor, "test channels height width"]
    test_labels: Int64[Tensor, " test"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    validation_images: UInt8[Tensor, "validation channels height width"] | None = None
    validation_labels: Int64[Tensor, " validation"] | None = None

    def __post_init__(self) -> None:
        """Take lists and arrays of numbers and names as well."""
        for name in ("mean", "std", "class_names"):
            given = getattr(self, name)
            if isinstance(given, list) or hasattr(given, "tolist"):
                numbers = given if isinstance(given, list) else given.tolist()
                object.__setattr__(self, name, tuple(numbers))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The images and labels of all splits that there are, by name."""
        found = {name: getattr(self, name) for name in (*TENSOR_NAMES, *VALIDATION_NAMES)}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return self.train_images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train_images.shape[2], self.train_images.shape[3]

    def normalise(
        self,
        images: UInt8[Tensor, "n channels height width"],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "n channels height width"]:
        """Return `images` scaled to [0, 1], less the mean, over the standard deviation."""
        return self.normalised(images.to(dtype) / 255)

    def normalised(
        self, pixels: Float[Tensor, "*n channels height width"]
    ) -> Float[Tensor, "*n channels height width"]:
        """Return pixels from 0 to 1, less the mean, over the standard deviation."""
        mean, std = channel_statistics(self.mean, self.std, pixels.dtype, pixels.device)
        return (pixels - mean) / std

    def pixels(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Return normalised images as pixels, from 0 to 1 but for what was learnt beyond."""
        mean, std = channel_statistics(self.mean, self.std, images.dtype, images.device)
        return images * std + mean

    @property
    def facts(self) -> checks.Facts:
        """What planning knows of it."""
        smallest = min(len(indices) for indices in self.train_indices)
        return checks.Facts(self.channels, self.image_size, smallest)

    @functools.cached_property
    def train_indices(self) -> tuple[Int64[Tensor, " n"], ...]:
        """The indices of the training images of each class, on the CPU."""
        labels = self.train_labels.cpu()
        return tuple(torch.nonzero(labels == c).flatten() for c in range(self.num_classes))

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of everything but the name."""
        tensors = fingerprint(*self.tensors.values())
        return provenance.digest(tensors, self.mean, self.std, self.class_names)

    def sample(self, size: int, generator: torch.Generator) -> list[Int64[Tensor, " _"]]:
        """Return, for every class, the indices of `size` training images without replacement.

        A class of fewer images gives all that it has.
        """
        return [
            indices[torch.randperm(len(indices), generator=generator)[:size]]
            for indices in self.train_indices
        ]

    def require(self, ipc: int) -> None:
        """Raise InputError if a class has fewer than `ipc` training images."""
        counts = [len(indices) for indices in self.train_indices]
        if min(counts) < ipc:
            smallest = self.class_names[counts.index(min(counts))]
            raise InputError(
                f"data set '{self.name}': {ipc} images per class, but class '{smallest}' has only "
                f"{min(counts)} training images"
            )

    def check(self) -> None:
        """Refuse what cannot be trained on.

        Raises:
            InputError: a tensor is of another type or shape, a class has no image in a split, a
                label is of no class, or images cannot be normalised by mean and std.
        """
        arguments.text("the data set's name", self.name, "a text")
        self._check(f"data set '{self.name}': not whole")

    def _check(self, what: str) -> None:
        names = ("mean", "std", "class_names")
        told = {name: getattr(self, name) for name in names}
        require_described(what, self.tensors, told, _TYPES, VALIDATION_NAMES)
        if (self.validation_images is None) != (self.validation_labels is None):
            raise InputError(f"{what}: of its validation split there are images or labels alone")
        arrays: dict[str, Any] = {
            name: held.cpu().numpy() if "labels" in name else np.broadcast_to(_BLACK, held.shape)
            for name, held in self.tensors.items()
        }
        checks.check(what, Arrays(**arrays, class_names=self.class_names))

    def to(self, device: torch.device) -> "ImageDataset":
        """Return the same data set with its tensors on `device`."""
        moved: dict[str, Any] = {name: held.to(device) for name, held in self.tensors.items()}
        return dataclasses.replace(self, **moved)

    def save(self, path: str | Path) -> None:
        """Write the data set to one safetensors file that `load` maps into memory.

        Raises:
            InputError: see `check`; or the file cannot be written.
        """
        path = arguments.path("path", path)
        self.check()
        metadata = {
            "dataset": self.name,
            "mean": self.mean,
            "std": self.std,
            "class_names": self.class_names,
            "train_images": len(self.train_images),
            "test_images": len(self.test_images),
            "fingerprint": self.fingerprint,
        }
        write_tensors(path, self.tensors, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "ImageDataset":
        """Return the data set that `save` wrote; its tensors are mapped, not read.

        Raises:
            Damaged: its content is not that of which the fingerprint was taken.
            InputError: the file is missing, truncated or not a prepared data set.
        """
        kind = "a prepared data set"
        path = arguments.path("path", path)
        tensors, metadata = read_tensors(path)
        require_described(f"{path}: not {kind}", tensors, metadata, _TYPES, VALIDATION_NAMES)
        if not isinstance(metadata.get("dataset"), str):
            raise InputError(f"{path}: not {kind}, its metadata has no name in 'dataset'")
        loaded = cls(
            name=metadata["dataset"],
            **{name: tensors[name] for name in _TYPES if name in tensors},
            mean=tuple(metadata["mean"]),
            std=tuple(metadata["std"]),
            class_names=tuple(metadata["class_names"]),
        )
        if loaded.fingerprint != metadata.get("fingerprint"):
            raise Damaged(path)
        loaded._check(str(path))
        return loaded


def require_described(
    what: str,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    types: Mapping[str, tuple[torch.dtype, int]],
    optional: Collection[str] = (),
) -> None:
    """Refuse images that cannot be de-normalised and named.

    Args:
        what: for messages.
        types: type and number of dimensions of each tensor; the first is of images.
        optional: those that may be missing.

    Raises:
        InputError: one of the tensors is missing, or of another type; or `mean`, `std` and
            `class_names` are not in the metadata, or images cannot be normalised by them.
    """
    for name, (dtype, dimensions) in types.items():
        tensor = tensors.get(name)
        if tensor is None:
            if name in optional:
                continue
            raise InputError(f"{what}, it has no {name}")
        if not is_dense(tensor) or (tensor.dtype, tensor.ndim) != (dtype, dimensions):
            raise InputError(
                f"{what}, its {name} are {described(tensor)}; allowed is {dtype} of {dimensions} "
                "dimensions"
            )
    for key, (item, items) in _DESCRIBED.items():
        values = metadata.get(key)
        if values is None:
            raise InputError(f"{what}, it has no list '{key}'")
        listed = values.tolist() if hasattr(values, "tolist") else values
        if not isinstance(listed, list | tuple) or not all(
            isinstance(value, item) and type(value) is not bool for value in listed
        ):
            raise InputError(
                f"{what}, its '{key}' are {reprlib.repr(values)}; allowed is a list of {items}"
            )
    channels = tensors[next(iter(types))].shape[1]
    checks.check_statistics(what, channels, metadata["mean"], metadata["std"])


@functools.lru_cache
def channel_statistics(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "channels 1 1"], Float[Tensor, "channels 1 1"]]:
    """Return mean and std as tensors that broadcast over images of shape [n, channels, h, w]."""
    return (
        torch.tensor(mean, dtype=dtype, device=device).view(-1, 1, 1),
        torch.tensor(std, dtype=dtype, device=device).view(-1, 1, 1),
    )


def statistics(
    images: UInt8[Tensor, "n channels height width"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of every channel of pixels scaled to [0, 1].

    They have four digits; the deviation of a flat channel counts as 1.
    """
    return statistics_of(histogram(images))


def histogram(images: UInt8[Tensor, "n channels height width"]) -> Int64[Tensor, "channels 256"]:
    """Return how many pixels of every channel have each value."""
    channels = images.transpose(0, 1).flatten(1)
    return torch.stack([torch.bincount(pixels, minlength=256) for pixels in channels])


def statistics_of(
    histogram: Int64[Tensor, "channels 256"],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what `statistics` does of images that have this histogram."""
    means, stds = [], []
    values = torch.arange(256, dtype=torch.float64) / 255
    for counts in histogram.double():
        mean = float((counts * values).sum() / counts.sum())
        variance = float((counts * (values - mean) ** 2).sum() / counts.sum())
        means.append(round(mean, 4))
        stds.append(round(math.sqrt(variance), 4) or 1.0)
    return tuple(means), tuple(stds)


def fitted(
    images: UInt8[Tensor, "n channels height width"],
    size: tuple[int, int],
    fit: str,
    background: tuple[int, int, int],
) -> UInt8[Tensor, "n channels new_height new_width"]:
    """Return images of another height and width.

    Args:
        fit: `stretch`; `crop` to the middle part of the shape of `size` first; or `pad`, which
            leaves the shape as it is and fills the rest with the background.
        background: red, green and blue.
    """
    height, width = images.shape[2:]
    if (height, width) == size:
        return images
    if fit == "crop":
        scale = min(height / size[0], width / size[1])
        rows, columns = (
            min(n, max(1, round(scale * m))) for n, m in zip((height, width), size, strict=True)
        )
        top, left = (height - rows) // 2, (width - columns) // 2
        images = images[:, :, top : top + rows, left : left + columns]
    if fit != "pad":
        return resized(images, size)
    scale = min(size[0] / height, size[1] / width)
    rows, columns = max(1, round(scale * height)), max(1, round(scale * width))
    whole = shade(background, images.shape[1]).view(1, -1, 1, 1).repeat(len(images), 1, *size)
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    whole[:, :, top : top + rows, left : left + columns] = resized(images, (rows, columns))
    return whole


def shade(background: tuple[int, int, int], channels: int) -> UInt8[Tensor, " channels"]:
    """Return a colour as images of 1 or 3 channels have it: of one, its luminance (ITU-R 601)."""
    colour = torch.tensor(background, dtype=torch.uint8)
    if channels == 3:
        return colour
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    return (colour.double() @ weights).round().to(torch.uint8)[None]


def resized(
    images: UInt8[Tensor, "n channels height width"], size: tuple[int, int]
) -> UInt8[Tensor, "n channels new_height new_width"]:
    """Return images of another height and width."""
    from torchvision.transforms.v2.functional import resize  # takes two seconds

    return resize(images, list(size), antialias=True).contiguous()
