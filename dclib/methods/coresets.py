"""Sets of real images: the baselines that a condensed set is compared with.

The rules `herding` (Welling 2009; Rebuffi et al. 2017) and `kcenter` (Sener and Savarese 2018) look
at the features that a reference network gives the images of one class, `forgetting` (Toneva et al.
2019) at how often it forgot them. All three are greedy: more images begin with the fewer ones.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError, did_you_mean
from dclib.seeding import Streams
from dclib.teachers import reference as reference_network
from dclib.teachers.reference import Reference

CPU = torch.device("cpu")


def random(data: ImageDataset, ipc: int, random: Streams) -> SyntheticSet:
    """Return `ipc` random training images of every class.

    Their indices in the training split are in the set's metadata as `indices`.

    Raises:
        InputError: a class has fewer than `ipc` images.
    """
    return select("random", data, ipc, random)


def herding(features: Float[Tensor, "n d"], count: int) -> Int64[Tensor, " count"]:
    """Return the images whose running mean stays nearest to the mean of all, in order of choice.

    Every choice is the image that brings the mean of those chosen closest to the mean of all; of
    equally good ones, the first.

    Raises:
        ValueError: there are fewer than `count` images.
    """
    _require(len(features), count)
    # n times all of it, so that nothing is divided, and whole numbers stay whole.
    scaled = features.double() * len(features)
    mean = features.double().sum(0)
    chosen = torch.empty(count, dtype=torch.int64, device=features.device)
    total = torch.zeros_like(mean)
    for i in range(count):
        distances = _distances(scaled, (i + 1) * mean - total)
        distances[chosen[:i]] = torch.inf
        chosen[i] = distances.argmin()
        total += scaled[chosen[i]]
    return chosen


def kcenter(features: Float[Tensor, "n d"], count: int) -> Int64[Tensor, " count"]:
    """Return the image nearest the mean, then always the one farthest from all that are chosen.

    How far an image is from the chosen ones is its distance from the nearest of them; of equally
    far images the first is chosen.

    Raises:
        ValueError: there are fewer than `count` images.
    """
    _require(len(features), count)
    features = features.double()
    chosen = torch.empty(count, dtype=torch.int64, device=features.device)
    chosen[:1] = herding(features, 1)
    nearest = torch.full_like(features[:, 0], torch.inf)
    for i in range(1, count):
        last = chosen[i - 1]
        nearest = torch.minimum(nearest, _distances(features, features[last]))
        nearest[last] = -1  # less than any distance, also from now on
        chosen[i] = nearest.argmax()
    return chosen


def forgetting(counts: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " count"]:
    """Return the images with the highest counts, the most forgotten first; of equals, the first.

    Args:
        counts: forgetting events, `reference_network.NEVER_LEARNT` for images that never were
            right: they are the most forgotten.

    Raises:
        ValueError: there are fewer than `count` images.
    """
    _require(len(counts), count)
    return counts.sort(descending=True, stable=True).indices[:count]


_BY_FEATURES: dict[str, Callable[[Tensor, int], Tensor]] = {"herding": herding, "kcenter": kcenter}
NAMES = ("random", *_BY_FEATURES, "forgetting")


def select(
    name: str,
    data: ImageDataset,
    ipc: int,
    random: Streams,
    reference: Reference | None = None,
    device: torch.device = CPU,
) -> SyntheticSet:
    """Return `ipc` training images of every class, chosen by the rule `name`.

    Their indices in the training split are in the set's metadata as `indices`, and the accuracy of
    the reference network in percent, where there is one, as `reference_test_accuracy`.

    Args:
        name: `random`, `herding`, `kcenter` or `forgetting`.
        reference: a network trained on the training split of `data`; `random` does without.
        device: where the reference network is.

    Raises:
        InputError: an unknown name, a class of fewer than `ipc` images, or a reference network that
            is missing or was trained on other data.
    """
    if name not in NAMES:
        raise InputError(
            f"selection '{name}' is not one of {', '.join(NAMES)}{did_you_mean(name, NAMES)}"
        )
    data.require(ipc)
    metadata: dict[str, Any] = {"mean": data.mean, "std": data.std, "class_names": data.class_names}
    if name == "random":
        indices = torch.cat(data.sample(ipc, random["selection"]))
    elif reference is None:
        raise InputError(f"selection '{name}' needs a reference network")
    elif reference.metadata["fingerprint"] != data.fingerprint:
        raise InputError(
            f"selection '{name}': data set '{data.name}' is not the one that the reference network "
            f"was trained on, '{reference.metadata['dataset']}'"
        )
    else:
        of_class = [_choose(name, data, c, ipc, reference, device) for c in data.train_indices]
        indices = torch.cat(of_class)
        metadata["reference_test_accuracy"] = reference.metadata["test_accuracy"]
    images = data.normalise(data.train_images[indices])
    metadata["indices"] = indices.tolist()
    return SyntheticSet(images, class_labels(data.num_classes, ipc), metadata)


def _choose(
    name: str,
    data: ImageDataset,
    members: Tensor,
    ipc: int,
    reference: Reference,
    device: torch.device,
) -> Tensor:
    """Return those of the images with indices `members`, a class, that the rule chooses."""
    if name == "forgetting":
        return members[forgetting(reference.forgetting[members], ipc)]
    images = data.train_images[members]
    features = reference_network.features(reference.network, data, images, device)
    return members[_BY_FEATURES[name](features, ipc).cpu()]


def _distances(features: Float[Tensor, "n d"], point: Float[Tensor, " d"]) -> Float[Tensor, " n"]:
    """Return them pair by pair, so that equal images are equally far to the last bit."""
    pairs = torch.cdist(features, point[None], compute_mode="donot_use_mm_for_euclid_dist")
    return pairs.flatten()


def _require(available: int, count: int) -> None:
    if not 1 <= count <= available:
        raise ValueError(f"{count} images are to be chosen from {available}")
