"""The augmentation of Zhao et al. 2021 (section 4.1, and their code), in one operation.

For every image one of the allowed kinds is drawn:

- `crop`: pad by 4 pixels with the channel means of the batch, then take a random window.
- `scale`: height and width each by a factor in [0.8, 1.2] about the centre, nearest neighbour,
  with zeros around.
- `rotate`: by up to 45 degrees about the centre, bilinear, with the channel means around.
- `noise`: add normal noise of standard deviation 0.001.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from dclib.seeding import Streams

KINDS = ("crop", "scale", "rotate", "noise")
PIXELS = False

PAD = 4
SCALE = 0.2
DEGREES = 45.0
NOISE = 0.001


def draw(n: int, batch: int, kinds: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
    """Return arguments of `transform` for `n` images, with one of `kinds` for each of them.

    Where `noise` is one of them, that itself is missing, see `noise`.
    """
    drawn = torch.tensor([KINDS.index(kind) for kind in kinds])[
        torch.randint(len(kinds), (n,), generator=generator)
    ]
    shift = torch.randint(-PAD, PAD + 1, (n, 2), generator=generator).to(torch.float64)
    factor = 1 - SCALE + 2 * SCALE * torch.rand(n, 2, generator=generator, dtype=torch.float64)
    turn = (2 * torch.rand(n, generator=generator, dtype=torch.float64) - 1) * DEGREES
    crop, scale, rotate, noisy = (drawn == index for index in range(len(KINDS)))
    parameters = {
        "shift": torch.where(crop[:, None], shift, 0.0),
        "factor": torch.where(scale[:, None], factor, 1.0),
        "degrees": torch.where(rotate, turn, 0.0),
        "nearest": scale,
        "mean_around": crop | rotate,
    }
    return {**parameters, "noisy": noisy} if "noise" in kinds else parameters


def noise(
    shape: Sequence[int], random: Streams, device: torch.device
) -> Float[Tensor, "n channels height width"]:
    """Return standard normal noise that is drawn on `device`, seeded from the stream `noise`."""
    generator = torch.Generator(device).manual_seed(random.seed("noise"))
    return torch.randn(tuple(shape), generator=generator, device=device)


def transform(
    images: Float[Tensor, "*batches n channels height width"],
    *,
    shift: Float[Tensor, "*batches n 2"],
    factor: Float[Tensor, "*batches n 2"],
    degrees: Float[Tensor, "*batches n"],
    nearest: Bool[Tensor, "*batches n"],
    mean_around: Bool[Tensor, "*batches n"],
    noisy: Bool[Tensor, "*batches n"] | None = None,
    noise: Float[Tensor, "*batches n channels height width"] | None = None,
) -> Float[Tensor, "*batches n channels height width"]:
    """Move, scale and turn every image about its centre by parameters of its own.

    Args:
        shift: pixels, rows and columns, by which the window moves over the image.
        factor: enlargement, of height and of width.
        degrees: the angle, counter-clockwise.
        nearest: take the nearest pixel and do not interpolate.
        mean_around: what lies outside an image is the channel means of the batch, not 0.
        noisy: which images noise is added to in the end.
        noise: standard normal.
    """
    height, width = images.shape[-2:]
    exact, device = torch.float64, images.device
    angle = degrees * (math.pi / 180)
    cos, sin = torch.cos(angle)[..., None, None], torch.sin(angle)[..., None, None]
    rows = (torch.arange(height, dtype=exact, device=device) - (height - 1) / 2)[:, None]
    columns = torch.arange(width, dtype=exact, device=device) - (width - 1) / 2
    # Where in the image every output pixel comes from, in pixels from its centre.
    down, right = factor[..., 0, None, None], factor[..., 1, None, None]
    down = (cos * rows + sin * columns) / down + shift[..., 0, None, None]
    right = (cos * columns - sin * rows) / right + shift[..., 1, None, None]
    down, right = down + (height - 1) / 2, right + (width - 1) / 2
    down = torch.where(nearest[..., None, None], torch.floor(down + 0.5), down)
    right = torch.where(nearest[..., None, None], torch.floor(right + 0.5), right)
    grid = torch.stack(((2 * right + 1) / width - 1, (2 * down + 1) / height - 1), dim=-1)
    around = images.mean(dim=(-4, -2, -1), keepdim=True)
    around = around * mean_around.to(images)[..., None, None, None]
    moved = functional.grid_sample(
        (images - around).flatten(0, -4), grid.to(images).flatten(0, -4), align_corners=False
    )
    moved = moved.view(images.shape) + around
    if noisy is None or noise is None:
        return moved
    return moved + NOISE * noise.to(images) * noisy[..., None, None, None]
