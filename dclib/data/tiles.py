"""Small images in one: `factor` x `factor` of them that networks see enlarged.

The multi-formation of Kim et al. 2022 (section 4.1): a set of `ipc` stored images stands for
factor^2 times as many.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def decode(
    images: Float[Tensor, "n channels height width"],
    factor: int,
    around: float | Float[Tensor, "channels 1 1"] = 0.5,
) -> Float[Tensor, "many channels height width"]:
    """Return the small images, enlarged to full size bilinearly, those of one next to each other.

    They go row by row. It is differentiable, and linear but for what is `around`.

    Args:
        around: the colour of what is added at the right and below where a side is no multiple of
            `factor`.
    """
    if factor == 1:
        return images
    height, width = images.shape[-2:]
    down, right = -(-height // factor), -(-width // factor)
    more = (0, right * factor - width, 0, down * factor - height)
    if any(more):
        images = functional.pad(images - around, more) + around
    small = images.unflatten(2, (factor, down)).unflatten(4, (factor, right))
    small = small.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
    return functional.interpolate(small, (height, width), mode="bilinear", align_corners=False)


def encode(
    images: Float[Tensor, "many channels height width"], factor: int
) -> Float[Tensor, "n channels height width"]:
    """Return images that each hold `factor`^2 of these, shrunk by nearest neighbour, row by row."""
    if factor == 1:
        return images
    height, width = images.shape[-2:]
    down, right = -(-height // factor), -(-width // factor)
    small = functional.interpolate(images, (down, right), mode="nearest")
    small = small.unflatten(0, (-1, factor, factor)).permute(0, 3, 1, 4, 2, 5)
    return small.flatten(4, 5).flatten(2, 3)[..., :height, :width].contiguous()


def seen(labels: Tensor, factor: int) -> Tensor:
    """Return the labels, or anything with a row for each stored image, of what `decode` returns."""
    return torch.repeat_interleave(labels, factor**2, dim=0)


def parameters(factor: int) -> dict[str, Tensor]:
    """Return what a set says of itself whose images hold `factor`^2 small ones each."""
    return {} if factor == 1 else {"factor": torch.tensor(float(factor))}
