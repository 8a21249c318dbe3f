"""Greedy k-center (Sener and Savarese 2018): real images that leave none of their class far away.

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
    return selection.by_features(data, ipc, teachers, device, kcenter)


def kcenter(features: Float[Tensor, "n d"], count: int) -> Int64[Tensor, " count"]:
    """Return the image nearest the mean, then always the one farthest from all that are chosen.

    How far an image is from the chosen ones is its distance from the nearest of them; of equally
    far images the first is chosen.

    Raises:
        ValueError: there are fewer than `count` images.
    """
    selection.require(len(features), count)
    features = features.double()
    chosen = torch.empty(count, dtype=torch.int64, device=features.device)
    # n times all of it, so that nothing is divided, and whole numbers stay whole.
    chosen[0] = selection.distances(features * len(features), features.sum(0)).argmin()
    nearest = torch.full_like(features[:, 0], torch.inf)
    for i in range(1, count):
        last = chosen[i - 1]
        nearest = torch.minimum(nearest, selection.distances(features, features[last]))
        nearest[last] = -1  # less than any distance, also from now on
        chosen[i] = nearest.argmax()
    return chosen
