"""Images and labels that networks are trained or tested on, where they are in memory."""

import dataclasses

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from dclib.data.datasets import ImageDataset


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled images, all on one device.

    Attributes:
        images: pixels of `data`, or normalised ones.
        labels: class indices, or the probability of every class.
        data: the data set that they belong to.
    """

    images: Shaped[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"] | Float[Tensor, "n classes"]
    data: ImageDataset

    def __len__(self) -> int:
        return len(self.labels)

    def normalised(
        self, index: Int64[Tensor, "*models batch"] | slice
    ) -> Float[Tensor, "*models batch channels height width"]:
        """Return the images of these indices as a network takes them."""
        images = self.images[index]
        if images.dtype != torch.uint8:
            return images
        return self.data.normalise(images.flatten(0, -4)).view(images.shape)
