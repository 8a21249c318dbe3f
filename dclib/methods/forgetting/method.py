"""The real images that a reference network forgot most often (Toneva et al. 2019).

It is greedy: more images begin with the fewer ones.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Int64
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
    """Return `ipc` training images of every class, see `selection.by_reference`."""

    def choose(reference: Reference, members: Tensor) -> Tensor:
        return forgetting(reference.forgetting[members], ipc)

    return selection.by_reference(data, ipc, teachers, choose)


def forgetting(counts: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " count"]:
    """Return the images with the highest counts, the most forgotten first; of equals, the first.

    Args:
        counts: forgetting events, `teacher.NEVER_LEARNT` for images that never were right: they are
            the most forgotten.

    Raises:
        ValueError: there are fewer than `count` images.
    """
    selection.require(len(counts), count)
    return counts.sort(descending=True, stable=True).indices[:count]
