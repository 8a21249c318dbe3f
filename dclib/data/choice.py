"""Which images of a data set are used: of which classes, and which are held out of the training.

What a plan is told (`smallest_class`) and what is read (`chosen`) follow the same rules.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dclib.data.checks import Arrays
from dclib.data.sources.settings import Options
from dclib.errors import InputError, did_you_mean


class Counts(NamedTuple):
    """How many images there are, as far as that is known before they are read.

    Attributes:
        class_names: in the order of the labels.
        train: training images of each class.
        validation: those that the source has of its own, of each class; None if it has none.
    """

    class_names: Sequence[str]
    train: Sequence[int]
    validation: Sequence[int] | None = None


def asked(options: Options) -> bool:
    """Return whether anything else is asked for than all images as they are."""
    return any(
        wish is not None for wish in (options.classes, options.validation, options.max_per_class)
    )


def count(arrays: Arrays) -> Counts:
    """Return how many images of each class there are; of the images only the shapes count."""
    labels, own = arrays.train_labels, arrays.validation_labels
    classes = len(arrays.class_names)
    return Counts(
        arrays.class_names,
        np.bincount(labels.astype(np.int64), minlength=classes).tolist(),
        None if own is None else np.bincount(own.astype(np.int64), minlength=classes).tolist(),
    )


def smallest_class(options: Options, counts: Counts) -> int:
    """Return how many training images the smallest class has once they are chosen.

    Raises:
        InputError: what is asked for is not there.
    """
    indices = _indices(options, counts.class_names)
    train = np.array(counts.train)[indices]
    if _merged(options, counts.validation is not None) and counts.validation is not None:
        train = train + np.array(counts.validation)[indices]
    left = train - _held_out(options, [counts.class_names[i] for i in indices], train)
    return int(min(left.min(), options.max_per_class or left.min()))


def chosen(options: Options, arrays: Arrays) -> Arrays:
    """Return the images that are used, in the order in which they are there.

    The order in which images of a class are held out, then taken, depends on `split_seed`, the name
    of the class and the number of its images alone.

    Raises:
        InputError: what is asked for is not there.
    """
    indices = _indices(options, arrays.class_names)
    if _merged(options, arrays.validation_images is not None):
        arrays = _merge(arrays)
    arrays = _of_classes(arrays, indices) if options.classes else arrays
    if not isinstance(options.validation, int | float) and options.max_per_class is None:
        return arrays
    train, held = _split(options, arrays)
    taken = arrays._replace(
        train_images=arrays.train_images[train], train_labels=arrays.train_labels[train]
    )
    if not len(held):
        return taken
    return taken._replace(
        validation_images=arrays.train_images[held], validation_labels=arrays.train_labels[held]
    )


def _indices(options: Options, names: Sequence[str]) -> list[int]:
    """The classes that are used."""
    if options.classes is None:
        return [*range(len(names))]
    found = [_index(options, given, list(names)) for given in options.classes]
    for place, index in enumerate(found):
        if index in found[:place]:
            raise InputError(f"{options}: class '{names[index]}' is twice in classes")
    return found


def _index(options: Options, given: int | str, names: list[str]) -> int:
    if isinstance(given, str):
        if given not in names:
            raise InputError(
                f"{options}: class '{given}' is not one of its {len(names)} classes "
                f"{_some(names)}{did_you_mean(given, names)}"
            )
        return names.index(given)
    if given >= len(names):
        raise InputError(
            f"{options}: class {given}: allowed is an index from 0 to {len(names) - 1}, or a name "
            f"in quotes, of {_some(names)}"
        )
    if str(given) in names and names.index(str(given)) != given:
        raise InputError(
            f"{options}: class {given} is the index of '{names[given]}', and '{given}' the name of "
            "another class; allowed is the name in quotes"
        )
    return given


def _some(names: Sequence[str], shown: int = 12) -> str:
    return ", ".join(names[:shown]) + (", ..." if len(names) > shown else "")


def _merged(options: Options, own: bool) -> bool:
    """Whether validation images of the source's own become training images."""
    if options.validation == "merge" and not own:
        raise InputError(
            f"{options}: validation is 'merge', and it has no validation images of its own; allowed"
            " is a share or a number of its training images"
        )
    if own and options.validation not in (None, "merge"):
        raise InputError(
            f"{options}: validation is {options.validation}, and it has validation images of its "
            "own; allowed is nothing, to use them as such, or 'merge', to train on them"
        )
    return options.validation == "merge"


def _held_out(options: Options, names: Sequence[str], train: np.ndarray) -> np.ndarray:
    """How many images of each class are held out: its share, by largest remainder, at least one."""
    asked, total = options.validation, int(train.sum())
    if not isinstance(asked, int | float):
        return np.zeros_like(train)
    wanted = asked if isinstance(asked, int) else int(asked * total + 0.5)
    if not len(train) <= wanted <= total - len(train):
        raise InputError(
            f"{options}: validation is {asked}, {wanted} of its {total} training images; allowed "
            f"is at least one of each of the {len(train)} classes, and to leave one of each"
        )
    if train.min() < 2:
        raise InputError(
            f"{options}: validation holds out at least one image of each class, and class "
            f"'{names[int(train.argmin())]}' has {train.min()}; allowed are classes of 2 or more"
        )
    exact = train * wanted / total
    held = np.floor(exact).astype(np.int64)
    first = np.argsort(held - exact, kind="stable")
    held[first[: wanted - int(held.sum())]] += 1
    return np.clip(held, 1, train - 1)


def _split(options: Options, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """The places of the training images that are used as such, and of those held out."""
    from dclib.seeding import derive_seed  # which needs PyTorch

    names = arrays.class_names
    members = [np.flatnonzero(arrays.train_labels == c) for c in range(len(names))]
    held = _held_out(options, names, np.array([len(own) for own in members]))
    parts = []
    for name, own, out in zip(names, members, held, strict=True):
        random = np.random.default_rng(derive_seed(options.split_seed, "images", name))
        mixed = random.permutation(own)
        parts.append((mixed[out:][: options.max_per_class], mixed[:out]))
    train, validation = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    return train, validation


def _of_classes(arrays: Arrays, indices: Sequence[int]) -> Arrays:
    """The images of some classes, which are labelled anew, in this order."""
    new = np.full(len(arrays.class_names), -1)
    new[indices] = range(len(indices))
    taken: dict[str, Any] = {}
    for split in ("train", "test", "validation"):
        images, labels = (getattr(arrays, f"{split}_{part}") for part in ("images", "labels"))
        if images is not None:
            labels = new[labels]
            taken |= {f"{split}_images": images[labels >= 0]}
            taken |= {f"{split}_labels": labels[labels >= 0]}
    return arrays._replace(**taken, class_names=[arrays.class_names[i] for i in indices])


def _merge(arrays: Arrays) -> Arrays:
    """Training and validation images as training images."""
    images = arrays.train_images, arrays.validation_images
    labels = arrays.train_labels, arrays.validation_labels
    return arrays._replace(
        train_images=np.concatenate([part for part in images if part is not None]),
        train_labels=np.concatenate([part for part in labels if part is not None]),
        validation_images=None,
        validation_labels=None,
    )
