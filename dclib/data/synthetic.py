"""A condensed or selected set of images: the tensors, what made them, and its file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dclib import files
from dclib.data.datasets import channel_statistics, read_described
from dclib.errors import InputError
from dclib.tensors import write_tensors


@dataclasses.dataclass(frozen=True)
class SyntheticSet:
    """A few labelled images per class, in normalised space.

    Attributes:
        images: class by class, `ipc` images each.
        labels: class indices.
        metadata: at least `mean`, `std` and `class_names`; files that the pipeline writes also name
            dataset, method, network, ipc, seed, settings and versions.
        learning_rates: of the steps in which a network shall learn the images, if they are part of
            the set (`dclib.methods.dd.method`).
    """

    images: Float[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]
    metadata: Mapping[str, Any]
    learning_rates: Float[Tensor, " steps"] | None = None

    def with_metadata(self, **metadata: Any) -> "SyntheticSet":
        """Return the same set with `metadata` added."""
        return dataclasses.replace(self, metadata={**self.metadata, **metadata})

    def pixels(self) -> Float[Tensor, "n channels height width"]:
        """Return the images de-normalised and clipped to [0, 1]."""
        mean, std = channel_statistics(
            tuple(self.metadata["mean"]),
            tuple(self.metadata["std"]),
            self.images.dtype,
            self.images.device,
        )
        return (self.images * std + mean).clamp(0, 1)

    def save(self, path: str | Path) -> None:
        """Write the set as float32 safetensors, with its metadata as JSON in the header."""
        tensors = {"images": self.images.float(), "labels": self.labels}
        if self.learning_rates is not None:
            tensors["learning_rates"] = self.learning_rates.float()
        write_tensors(path, tensors, self.metadata)

    def grid(self, padding: int = 1) -> Float[Tensor, "rows columns 3"]:
        """Return all images as one picture in [0, 1], a row for each class, with grey between."""
        images = functional.pad(self.pixels(), (0, padding, 0, padding), value=0.5)
        rows = images.unflatten(0, (len(self.metadata["class_names"]), -1))
        picture = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
        framed = functional.pad(picture, (0, 0, padding, 0, padding, 0), value=0.5)
        return framed.expand(-1, -1, 3)

    def save_png(self, path: str | Path) -> None:
        """Write the images as one picture, a row for each class, small ones enlarged."""
        picture = (self.grid() * 255).round().to(torch.uint8).cpu().numpy()
        scale = max(1, 64 // self.images.shape[-1])
        enlarged = picture.repeat(scale, axis=0).repeat(scale, axis=1)
        with files.atomic(path) as part:
            Image.fromarray(enlarged).save(part)

    @classmethod
    def load(cls, path: str | Path) -> "SyntheticSet":
        """Return the set in a file that `save` wrote.

        Raises:
            InputError: the file is missing, truncated or not a set.
        """
        kind = "a set of images"
        types = {"images": (torch.float32, 4), "labels": (torch.int64, 1)}
        tensors, metadata = read_described(path, kind, types)
        images, labels = tensors["images"], tensors["labels"]
        classes = len(metadata["class_names"])
        ipc = len(images) // max(1, classes)
        if ipc == 0 or not torch.equal(labels, class_labels(classes, ipc)):
            raise InputError(
                f"{path}: not {kind}, its {len(labels)} labels do not go class by class, with as "
                f"many of its {len(images)} images for each of the {classes} classes"
            )
        rates = tensors.get("learning_rates")
        if rates is not None and (rates.dtype, rates.ndim) != (torch.float32, 1):
            raise InputError(f"{path}: not {kind}, its learning_rates are {rates.dtype}")
        return cls(images, labels, metadata, rates)


def class_labels(num_classes: int, ipc: int) -> Int64[Tensor, " n"]:
    """Return the labels of a set with `ipc` images for each class, class by class."""
    return torch.arange(num_classes).repeat_interleave(ipc)
