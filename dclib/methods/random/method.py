"""Random training images of every class, the baseline that a condensed set has to beat."""

from collections.abc import Mapping

import torch

from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet
from dclib.methods import selection
from dclib.seeding import Streams
from dclib.teachers.reference.teacher import Reference


def select(
    data: ImageDataset,
    ipc: int,
    random: Streams,
    teachers: Mapping[str, Reference] | None = None,
    device: torch.device | None = None,
) -> SyntheticSet:
    """Return `ipc` random training images of every class; it needs no teacher and no device.

    Raises:
        InputError: a class has fewer than `ipc` images.
    """
    data.require(ipc)
    return selection.of_images(data, torch.cat(data.sample(ipc, random["selection"])))
