"""A set from a file of somebody else's, brought to the form of all sets, or refused."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dclib.data import checks, tiles
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError
from dclib.methods.imported import formats
from dclib.methods.imported.settings import Settings

log = logging.getLogger(__name__)

# Where pixels and normalised images may lie: a little beyond, since nobody clips them.
_PIXELS = (-0.2, 1.2)
# Most pixels of whitened images that were learnt, and what none of them are.
_UNWHITENED, _NEVER = (-1.0, 2.0), (-3.0, 4.0)
_OF_OTHERS = ("space", "mean", "std", "factor", "lr", "labels")


def load(
    path: Path,
    settings: Settings,
    data: ImageDataset,
    ipc: int,
    experiment: int = 0,
    invert: Callable[[Tensor], Tensor] | None = None,
) -> SyntheticSet:
    """Return the set in a file, normalised as `data` are, class by class.

    What is doubtful is warned of in the log.

    Args:
        path: of a file, or of a folder of pictures.
        ipc: stored images per class.
        experiment: which of the sets in it.
        invert: what makes pixels of whitened images, as `Whitening.invert` does.

    Raises:
        InputError: it is none of the known kinds, or does not fit `data`, `ipc` or `settings`.
    """
    kind, found = formats.read(path)
    if experiment >= len(found):
        raise InputError(
            f"{path}: holds {len(found)} set{'s' * (len(found) > 1)}, so that there is none for "
            f"seed {experiment}; `experiments: {len(found)}` says how many there are"
        )
    if len(found) > 1 and settings.experiments is None:
        log.warning(
            "%s: holds %d sets, of which the first is taken; `experiments: %d` takes one a seed",
            path, len(found), len(found),
        )  # fmt: skip
    one = found[experiment]
    if one.ready is not None:
        told = {name for name in _OF_OTHERS if getattr(settings, name) not in (None, 1)}
        if told:
            raise InputError(
                f"{path}: {kind} says itself what its images and labels are; leave out "
                f"{', '.join(sorted(told))}"
            )
        many = ipc * one.ready.factor**2 * taken_apart(one.ready)
        return _checked(path, _sorted(one.ready.fitted(data)), many)
    seen = one.images
    if one.class_names is not None and seen.shape[1] == 1:  # pictures that happen to be grey
        seen = seen.expand(-1, data.channels, -1, -1)
    images = _decoded(path, seen, data, settings.factor)
    labels = _labels(path, one, data, settings, ipc)
    labels = tiles.seen(labels, settings.factor)
    space = settings.space or one.space
    if space is None:
        low, high = float(images.min()), float(images.max())
        raise InputError(
            f"{path}: {kind} does not say whether its images, from {low:.3g} to {high:.3g}, are "
            "normalised; say `space: normalised`, `space: pixels` or `space: whitened`"
        )
    _check_space(path, images, space, settings.space is not None)
    if space == "whitened":
        images = _inverted(path, images, invert)
    mean, std = _statistics(path, space, settings, data)
    if space == "normalised":
        _check_pixels(path, images, mean, std)
    names = _class_names(path, one, data)
    lr = None if one.lr is None and settings.lr is None else torch.tensor(settings.lr or one.lr)
    if lr is not None and not 0 < lr < torch.inf:
        raise InputError(
            f"{path}: the learning rate beside it is {one.lr}; allowed is a finite number above 0, "
            "or `lr` that is told"
        )
    made = SyntheticSet(
        images,
        labels,
        {
            "mean": [*mean], "std": [*std], "class_names": [*names], "imported_from": path.name,
            "imported_factor": settings.factor,
        },
        parameters={} if lr is None else {"lr": lr},
    ).fitted(data)  # fmt: skip
    odd = [value for values in one.accuracies.values() for value in values if not 0 <= value <= 1]
    if odd:
        log.warning("%s: the accuracies in it are left out: %g is not from 0 to 1", path, odd[0])
    elif one.accuracies:
        own = {name: [100 * value for value in values] for name, values in one.accuracies.items()}
        made = made.with_metadata(authors_accuracies=own)
    return _checked(path, _sorted(made), ipc * settings.factor**2)


def taken_apart(made: SyntheticSet) -> int:
    """Return how many images of a set stood in one before it was imported."""
    told = made.metadata.get("imported_factor", 1)
    return told**2 if isinstance(told, int) and told > 0 else 1


def _statistics(
    path: Path, space: str, settings: Settings, data: ImageDataset
) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation of each channel by which images are normalised."""
    if settings.mean is None or settings.std is None:
        if space != "normalised":
            return (0.0,) * data.channels, (1.0,) * data.channels
        if data.name == "CIFAR100":
            log.warning(
                "%s: taken to be normalised as the data are, by mean %s; many sets of CIFAR100 are "
                "by the numbers of CIFAR10: say `mean` and `std`", path, data.mean,
            )  # fmt: skip
        return data.mean, data.std
    if space != "normalised":
        raise InputError(
            f"{path}: its images are {space}, which are normalised by no `mean` or `std`; leave "
            "these out, or say `space: normalised`"
        )
    for name, numbers in (("mean", settings.mean), ("std", settings.std)):
        if len(numbers) != data.channels:
            raise InputError(
                f"{path}: `{name}` has {len(numbers)} numbers, and images of '{data.name}' "
                f"have {data.channels} channels"
            )
    return settings.mean, settings.std


def _class_names(path: Path, one: formats.Found, data: ImageDataset) -> Sequence[str]:
    """The names of the classes: those of the data set, where the file's mean nothing to it."""
    own = one.class_names
    if own is None or set(own) == set(data.class_names):
        return own or data.class_names
    if len(own) != data.num_classes or set(own) & set(data.class_names):
        raise InputError(
            f"{path}: has classes {', '.join(own)}; those of data set '{data.name}' are "
            f"{', '.join(data.class_names)}"
        )
    log.warning(
        "%s: its classes %s, ... are taken for %s, ... in this order", path, own[0],
        data.class_names[0],
    )  # fmt: skip
    return data.class_names


def _decoded(path: Path, images: Tensor, data: ImageDataset, factor: int) -> Tensor:
    """Images of the size of `data`: whole ones, or the small ones that they hold."""
    shape = data.channels, *data.image_size
    if tuple(images.shape[1:]) != shape:
        raise InputError(
            f"{path}: its images are {tuple(images.shape[1:])}, those of data set '{data.name}' "
            f"{shape} (channels, height, width)"
        )
    if not checks.holds(data.image_size, factor):
        raise InputError(f"{path}: {checks.factor_fault(data.name, data.facts, factor)}")
    return tiles.decode(images, factor)


def _labels(
    path: Path, one: formats.Found, data: ImageDataset, settings: Settings, ipc: int
) -> Tensor:
    """Class indices or probabilities, one for each stored image."""
    classes, count = data.num_classes, len(one.images)
    labels = one.labels
    if labels is None:
        if count != classes * ipc:
            raise InputError(
                f"{path}: has no labels beside it, and its {count} images are not {ipc} of each of "
                f"the {classes} classes of '{data.name}'"
            )
        log.warning("%s: has no labels; taken to go class by class", path)
        return class_labels(classes, ipc)
    if labels.ndim == 1:
        if settings.labels in ("probabilities", "logits"):
            raise InputError(
                f"{path}: its labels are classes, one an image, and no {settings.labels}; "
                "leave out 'labels'"
            )
        if labels.is_floating_point() and not torch.equal(labels, labels.round()):
            raise InputError(f"{path}: its labels are no whole numbers, as {labels.tolist()[:3]}")
        labels = labels.long()
        if int(labels.min()) < 0 or int(labels.max()) >= classes:
            raise InputError(
                f"{path}: its labels go from {int(labels.min())} to {int(labels.max())}; data set "
                f"'{data.name}' has classes 0 to {classes - 1}"
            )
        return labels
    if labels.ndim != 2 or labels.shape[1] != classes:
        raise InputError(
            f"{path}: its labels are of shape {tuple(labels.shape)}; data set '{data.name}' has "
            f"{classes} classes"
        )
    labels = labels.float()
    sums = bool((labels >= 0).all()) and bool(((labels.sum(1) - 1).abs() < 1e-3).all())
    if settings.labels == "hard":
        return labels.argmax(1)
    if settings.labels == "logits":
        if sums:
            raise InputError(
                f"{path}: its labels are probabilities already, and no logits; leave out 'labels'"
            )
        return labels.softmax(1)
    if not sums:
        raise InputError(
            f"{path}: its labels are neither classes nor probabilities, but numbers from "
            f"{float(labels.min()):.3g} to {float(labels.max()):.3g}; say `labels: logits` or "
            "`labels: hard`"
        )
    return labels


def _inverted(path: Path, images: Tensor, invert: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Pixels of whitened images; that they look like none is warned of."""
    if invert is None:
        raise InputError(f"{path}: is said to be whitened, and there is no whitening")
    pixels = invert(images)
    low, high = np.quantile(pixels.numpy(), (0.01, 0.99))
    told = (
        f"{path}: its images, taken for whitened ones, are pixels mostly from {low:.3g} to "
        f"{high:.3g}, instead of 0 to 1: they may be normalised, or pixels, or whitened in another "
        "way"
    )
    if low < _NEVER[0] or high > _NEVER[1]:
        raise InputError(f"{told}; say another `space`")
    if low < _UNWHITENED[0] or high > _UNWHITENED[1]:
        log.warning("%s", told)
    return pixels


def _check_space(path: Path, images: Tensor, space: str, told: bool) -> None:
    """Refuse images that cannot be of their space, and warn of what may not be."""
    low, high = float(images.min()), float(images.max())
    if not images.isfinite().all():
        raise InputError(f"{path}: its images are not all finite")
    within = _PIXELS[0] <= low and high <= _PIXELS[1]
    if space == "pixels" and not within:
        hint = "; divide them by 255" if high > 2 and low >= 0 else ""
        if "zca" in path.name.lower():
            hint = "; if MTT brought them back from whitening, take its `images_best.pt` instead"
        raise InputError(
            f"{path}: its images go from {low:.3g} to {high:.3g}, pixels from 0 to 1{hint}; or say "
            "`space: normalised`"
        )
    if space == "normalised" and within:
        if not told:
            raise InputError(
                f"{path}: its images go from {low:.3g} to {high:.3g}, as pixels do, and files of "
                "its kind have normalised ones; say `space: pixels` or `space: normalised`"
            )
        log.warning(
            "%s: normalised images usually go beyond 0 to 1, and these go from %.3g to %.3g",
            path, low, high,
        )  # fmt: skip
    if high - low < 1e-3:
        log.warning("%s: all its pixels are nearly the same", path)


def _check_pixels(path: Path, images: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse normalised images that are no pixels without it, as those from 0 to 255."""
    pixels = images * torch.tensor(std).view(1, -1, 1, 1) + torch.tensor(mean).view(1, -1, 1, 1)
    low, high = np.quantile(pixels.numpy(), (0.01, 0.99))
    if low < _NEVER[0] or high > _NEVER[1]:
        raise InputError(
            f"{path}: its images, taken for normalised ones, are pixels mostly from {low:.3g} to "
            f"{high:.3g}, instead of 0 to 1; images from 0 to 255 are pixels once they are divided "
            "by 255"
        )


def _sorted(made: SyntheticSet) -> SyntheticSet:
    """Images class by class, as sets are stored; of probabilities, by the likeliest class."""
    key = made.labels.argmax(1) if made.labels.is_floating_point() else made.labels
    order = torch.argsort(key, stable=True)
    return dataclasses.replace(made, images=made.images[order], labels=made.labels[order])


def _checked(path: Path, made: SyntheticSet, ipc: int) -> SyntheticSet:
    """Refuse a set that has not `ipc` images of every class; of probabilities, only warn."""
    classes = len(made.metadata["class_names"])
    soft = made.labels.is_floating_point()
    found = torch.bincount(made.labels.argmax(1) if soft else made.labels, minlength=classes)
    if not soft and found.min() < found.max():
        few, many = int(found.argmin()), int(found.argmax())
        names = made.metadata["class_names"]
        raise InputError(
            f"{path}: has {int(found[few])} images of class '{names[few]}' and {int(found[many])} "
            f"of class '{names[many]}'; allowed are as many of each"
        )
    if len(made.images) != classes * ipc:
        raise InputError(
            f"{path}: has {len(made.images)} images, not {ipc} of each of the {classes} classes; "
            "{ipc} in `file` stands for the number of the cell"
        )
    if soft and not (found == ipc).all():
        log.warning(
            "%s: by the likeliest class, it has %d to %d images of a class", path,
            int(found.min()), int(found.max()),
        )  # fmt: skip
    return made
