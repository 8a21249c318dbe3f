"""Sets of real images: the baselines that a condensed set is compared with."""

import torch

from dclib.datasets import ImageDataset
from dclib.seeding import Streams
from dclib.synthetic import SyntheticSet, class_labels


def random(data: ImageDataset, ipc: int, random: Streams) -> SyntheticSet:
    """Return `ipc` random training images of every class.

    Their indices in the training split are in the set's metadata as `indices`.

    Raises:
        InputError: a class has fewer than `ipc` images.
    """
    data.require(ipc)
    indices = torch.cat(data.sample(ipc, random["selection"]))
    metadata = {
        "mean": data.mean,
        "std": data.std,
        "class_names": data.class_names,
        "indices": indices.tolist(),
    }
    images = data.normalise(data.train_images[indices])
    return SyntheticSet(images, class_labels(data.num_classes, ipc), metadata)
