"""Herding (Welling 2009; Rebuffi et al. 2017): real images whose mean is that of their class.

It looks at the features that a reference network gives the images of one class, and is greedy: more
images begin with the fewer ones.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet
from dclib.methods import selection
from dclib.seeding import Streams
from dclib.teachers.reference.teacher import Reference


def select(
    data: ImageDataset,
    ipc: int,
    random: Streams,
    teachers: Mapping[str, Reference],
    device: torch.device,
) -> SyntheticSet:
    """Return `ipc` training images of every class, see `selection.by_features`."""
    return selection.by_features(data, ipc, teachers, device, herding)


def herding(features: Float[Tensor, "n d"], count: int) -> Int64[Tensor, " count"]:
    """Return the images whose running mean stays nearest to the mean of all, in order of choice.

    Every choice is the image that brings the mean of those chosen closest to the mean of all; of
    equally good ones, the first.

    Raises:
        ValueError: there are fewer than `count` images.
    """
    selection.require(len(features), count)
    # n times all of it, so that nothing is divided, and whole numbers stay whole.
    scaled = features.double() * len(features)
    mean = features.double().sum(0)
    chosen = torch.empty(count, dtype=torch.int64, device=features.device)
    total = torch.zeros_like(mean)
    for i in range(count):
        distances = selection.distances(scaled, (i + 1) * mean - total)
        distances[chosen[:i]] = torch.inf
        chosen[i] = distances.argmin()
        total += scaled[chosen[i]]
    return chosen
