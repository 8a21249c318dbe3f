"""What the selections of real images share."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError
from dclib.teachers.reference.teacher import Reference

Chosen = Int64[Tensor, " count"]


def of_images(data: ImageDataset, indices: Int64[Tensor, " n"], **metadata: Any) -> SyntheticSet:
    """Return the training images of these indices as a set, as many of each class, class by class.

    The indices are in its metadata as `indices`.
    """
    images = data.normalise(data.train_images[indices])
    labels = class_labels(data.num_classes, len(indices) // data.num_classes)
    return SyntheticSet.like(data, images, labels, indices=indices.tolist(), **metadata)


def by_reference(
    data: ImageDataset,
    ipc: int,
    teachers: Mapping[str, Reference],
    choose: Callable[[Reference, Int64[Tensor, " n"]], Chosen],
) -> SyntheticSet:
    """Return `ipc` images of each class, of which a reference network is asked.

    The network's accuracy in percent is in the set's metadata as `reference_test_accuracy`.

    Args:
        teachers: among them a network `reference`, trained on the training split of `data`.
        choose: the network, and the indices of a class's images in the training split, give the
            places in these of `ipc` images or more, the first choice first.

    Raises:
        InputError: a class has fewer than `ipc` images, or the reference network is missing or was
            trained on other data.
    """
    data.require(ipc)
    reference = teachers.get("reference")
    if reference is None:
        raise InputError("this selection needs a reference network, there is none")
    if reference.metadata["data_fingerprint"] != data.fingerprint:
        raise InputError(
            f"data set '{data.name}' is not the one that the reference network was trained on, "
            f"'{reference.metadata['dataset']}'"
        )
    of_class = [members[choose(reference, members).cpu()] for members in data.train_indices]
    accuracy = reference.metadata["test_accuracy"]
    return of_images(data, torch.cat(of_class), reference_test_accuracy=accuracy)


def by_features(
    data: ImageDataset,
    ipc: int,
    teachers: Mapping[str, Reference],
    device: torch.device,
    rule: Callable[[Float[Tensor, "n d"], int], Chosen],
) -> SyntheticSet:
    """Return `ipc` images of each class, chosen by what a reference network makes of them.

    Args:
        teachers: see `by_reference`; the network is on `device`.
        rule: features of a class's images, and a number of images, give the places of the chosen.

    Raises:
        InputError: see `by_reference`.
    """

    def choose(reference: Reference, members: Tensor) -> Tensor:
        return rule(reference.features(data, data.train_images[members], device), ipc)

    return by_reference(data, ipc, teachers, choose)


def distances(features: Float[Tensor, "n d"], point: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Return them pair by pair, so that equal images are equally far to the last bit."""
    pairs = torch.cdist(features, point[None], compute_mode="donot_use_mm_for_euclid_dist")
    return pairs.flatten()


def require(available: int, count: int) -> None:
    """Raise ValueError unless `count` images can be chosen from those that are available."""
    if not 1 <= count <= available:
        raise ValueError(f"{count} images are to be chosen from {available}")
