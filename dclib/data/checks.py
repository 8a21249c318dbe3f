"""What images, labels and statistics have to be like to be trained on; it needs no PyTorch."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dclib.errors import InputError

SPLITS = ("train", "test")
LARGEST = 1e38  # what a number in float32 can be
WHITENED = 3 * 64 * 64  # numbers of the largest image that is whitened


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


class Arrays(NamedTuple):
    """Both splits of a data set as its source has them.

    Attributes:
        train_images: uint8, of shape [n, channels, height, width].
        train_labels: integers, of shape [n].
        test_images: as those of the training split.
        test_labels: as those of the training split.
        class_names: one a class, in the order of the labels.
        mean: one number a channel, of pixels from 0 to 1, where it has been published.
        std: likewise.
        validation_images: as those of the other splits, where there are any.
        validation_labels: likewise.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: Sequence[str]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    validation_images: np.ndarray | None = None
    validation_labels: np.ndarray | None = None


TENSOR_NAMES = Arrays._fields[:4]
VALIDATION_NAMES = Arrays._fields[-2:]


def holds(size: Sequence[int], factor: int) -> bool:
    """Return whether images hold factor x factor small ones, of at least 2 x 2 pixels each.

    Where a side is no multiple of it, they are rounded up, and each of the last ones has a pixel.
    """
    return factor == 1 or all(
        side // factor >= 2 and -(-side // factor) * (factor - 1) < side for side in size
    )


def factor_fault(what: str, facts: Facts, factor: int) -> str:
    """Return why images of a data set cannot hold factor x factor small ones, or nothing."""
    if holds(facts.image_size, factor):
        return ""
    height, width = facts.image_size
    known = [str(n) for n in range(1, min(height, width)) if holds(facts.image_size, n)]
    return (
        f"factor {factor} leaves no image in those of '{what}', of {height}x{width} pixels; "
        f"allowed are {', '.join(known)}"
    )


def whitening_fault(what: str, facts: Facts) -> str:
    """Return why images of a data set cannot be whitened, or nothing."""
    pixels = facts.channels * facts.image_size[0] * facts.image_size[1]
    if pixels <= WHITENED:
        return ""
    size = f"{facts.channels} x {facts.image_size[0]} x {facts.image_size[1]}"
    return (
        f"images of '{what}' are too large to be whitened: {size} = {pixels} numbers, whose "
        f"correlations are {pixels} x {pixels}; allowed are {WHITENED} numbers (3 x 64 x 64)"
    )


def check(what: str, arrays: Arrays) -> Facts:
    """Refuse what cannot be trained on; return the facts of what can.

    Args:
        what: the data set, for messages.
        arrays: of the images only the shapes count.

    Raises:
        InputError: saying what does not fit.
    """
    class_names = arrays.class_names
    for name in class_names:
        if name.encode(errors="replace").decode() != name:
            raise InputError(
                f"{what}: class '{name}' has a name that is no text; allowed is what UTF-8 can hold"
            )
    if len(class_names) < 2:
        raise InputError(f"{what}: at least 2 classes are needed, it has {len(class_names)}")
    smallest = {}
    splits = [
        ("train", arrays.train_images, arrays.train_labels),
        ("test", arrays.test_images, arrays.test_labels),
    ]
    if arrays.validation_images is not None and arrays.validation_labels is not None:
        splits.append(("validation", arrays.validation_images, arrays.validation_labels))
    for split, pixels, labels in splits:
        images, channels, height, width = pixels.shape
        if images != len(labels):
            raise InputError(f"{what}: {images} {split} images but {len(labels)} labels")
        if channels not in (1, 3):
            raise InputError(f"{what}: {split} images have {channels} channels, allowed are 1 or 3")
        if min(height, width) < 1:
            raise InputError(
                f"{what}: {split} images have {width}x{height} pixels, at least 1x1 are needed"
            )
        values, numbers = np.unique(labels, return_counts=True)
        if len(values) and not 0 <= int(values[0]) <= int(values[-1]) < len(class_names):
            raise InputError(
                f"{what}: {split} labels from {values[0]} to {values[-1]}, allowed are "
                f"0 to {len(class_names) - 1}"
            )
        if len(values) < len(class_names) and split != "validation":
            empty = next(c for c in range(len(class_names)) if c not in values)
            raise InputError(f"{what}: class '{class_names[empty]}' has no {split} image")
        if not images:
            raise InputError(f"{what}: its validation split has no image")
        smallest[split] = int(numbers.min(initial=images))
    train = arrays.train_images.shape[1:]
    for split, pixels, _ in splits:
        if pixels.shape[1:] != train:
            raise InputError(f"{what}: train images are {train}, {split} images {pixels.shape[1:]}")
    channels, height, width = train
    return Facts(channels, (height, width), smallest["train"])


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
            and all(abs(number) <= LARGEST and (key == "mean" or number > 0) for number in numbers)
        ):
            raise InputError(
                f"{what}: {key} is {list(numbers)}; allowed is a finite number"
                f"{' above 0' if key == 'std' else ''} for each of its {channels} channels"
            )
