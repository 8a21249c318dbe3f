"""What images, labels and statistics have to be like to be trained on; it needs no PyTorch."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dclib.errors import InputError

SPLITS = ("train", "test")
TENSOR_NAMES = ("train_images", "train_labels", "test_images", "test_labels")


class Facts(NamedTuple):
    """What a cell of the grid depends on.

    Attributes:
        channels: 1 or 3.
        image_size: height and width in pixels.
        smallest_class: training images of the smallest class.
    """

    channels: int
    image_size: tuple[int, int]
    smallest_class: int


def check(
    what: str,
    shapes: Mapping[str, Sequence[int]],
    labels: Mapping[str, np.ndarray],
    class_names: Sequence[str],
) -> Facts:
    """Refuse what cannot be trained on; return the facts of what can.

    Args:
        what: the data set, for messages.
        shapes: [n, channels, height, width] of the images of both splits.
        labels: of both splits.
        class_names: one a class, in the order of the labels.

    Raises:
        InputError: saying what does not fit.
    """
    if len(class_names) < 2:
        raise InputError(f"{what}: at least 2 classes are needed, it has {len(class_names)}")
    counts = {}
    for split in SPLITS:
        images, channels, *size = shapes[split]
        if images != len(labels[split]):
            raise InputError(f"{what}: {images} {split} images but {len(labels[split])} labels")
        if channels not in (1, 3):
            raise InputError(f"{what}: {split} images have {channels} channels, allowed are 1 or 3")
        if min(size) < 1:
            raise InputError(
                f"{what}: {split} images have {size[1]}x{size[0]} pixels, at least 1x1 are needed"
            )
        values, numbers = np.unique(labels[split], return_counts=True)
        if len(values) and not 0 <= int(values[0]) <= int(values[-1]) < len(class_names):
            raise InputError(
                f"{what}: {split} labels from {values[0]} to {values[-1]}, allowed are "
                f"0 to {len(class_names) - 1}"
            )
        if len(values) < len(class_names):
            empty = next(c for c in range(len(class_names)) if c not in values)
            raise InputError(f"{what}: class '{class_names[empty]}' has no {split} image")
        counts[split] = int(numbers.min())
    train, test = (tuple(shapes[split][1:]) for split in SPLITS)
    if train != test:
        raise InputError(f"{what}: train images are {train}, test images {test}")
    channels, height, width = train
    return Facts(channels, (height, width), counts["train"])


def check_statistics(
    what: str, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> None:
    """Refuse a mean or standard deviation that images cannot be normalised with; None passes.

    Raises:
        InputError: not one number for each channel, not finite, or a deviation that is not above 0.
    """
    for key, numbers in (("mean", mean), ("std", std)):
        if numbers is not None and not (
            len(numbers) == channels
            and all(math.isfinite(number) and (key == "mean" or number > 0) for number in numbers)
        ):
            raise InputError(
                f"{what}: {key} is {list(numbers)}; allowed is a finite number"
                f"{' above 0' if key == 'std' else ''} for each of its {channels} channels"
            )
