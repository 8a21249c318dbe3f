"""Differentiable siamese augmentation (Zhao and Bilen 2021, and their code).

One of the allowed kinds is drawn for a batch, its parameters for every image. Images are
normalised, and what comes in from outside is 0; height and width are H and W, u is uniform from 0
to 1.

- `flip`: horizontally, if u < 0.5.
- `color`: brightness, x + (u - 0.5); saturation, m + (x - m) 2u with m the mean over the channels
  of a pixel; contrast, m + (x - m) (u + 0.5) with m the mean of the image; in this order.
- `crop`: the window moves by up to int(0.125 H + 0.5) rows and int(0.125 W + 0.5) columns.
- `scale`: by factors from 1/1.2 to 1.2 of height and of width, bilinear.
- `rotate`: by up to 15 degrees, bilinear.
- `cutout`: a block of half the height and half the width becomes 0. Its centre is anywhere; where
  it hangs over, the row or column at the border is 0 nevertheless.

Two sets are augmented alike, as siamese matching wants it, by the same arguments of `transform`.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

KINDS = ("flip", "color", "crop", "scale", "rotate", "cutout")  # in the order they are applied
PIXELS = False

NUMBERS = 11  # uniform ones that an image takes
CROP, CUTOUT, SCALE, DEGREES = 0.125, 0.5, 1.2, 15.0


def draw(n: int, batch: int, kinds: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
    """Return arguments of `transform` for `n` images: one of `kinds` for every `batch` of them."""
    return _drawn(n, batch, kinds, (), generator)


def _drawn(
    n: int, batch: int, kinds: Sequence[str], always: Sequence[str], generator: torch.Generator
) -> dict[str, Tensor]:
    """One of `kinds` for every batch, and all that are in `always`."""
    applied = torch.zeros(-(-n // batch), len(KINDS), dtype=torch.bool)
    if kinds:
        one = torch.tensor([KINDS.index(kind) for kind in kinds])
        drawn = torch.randint(len(kinds), (len(applied), 1), generator=generator)
        applied.scatter_(1, one[drawn], True)
    applied[:, [KINDS.index(kind) for kind in always]] = True
    return {
        "applied": applied.repeat_interleave(batch, dim=0)[:n],
        "uniform": torch.rand(n, NUMBERS, generator=generator, dtype=torch.float64),
    }


def transform(
    images: Float[Tensor, "*batches n channels height width"],
    *,
    applied: Bool[Tensor, "*batches n kinds"],
    uniform: Float[Tensor, "*batches n numbers"],
) -> Float[Tensor, "*batches n channels height width"]:
    """Change every image by parameters of its own.

    Args:
        applied: which of `KINDS` are applied.
        uniform: from 0 to 1, the `NUMBERS` that parameters are made of: brightness, saturation,
            contrast; rows and columns of crop; of the centre of cutout; flip; height and width of
            scale; rotate.
    """
    flat, u = images.flatten(0, -4), uniform.flatten(0, -2)
    chosen = applied.flatten(0, -2)
    for index, kind in enumerate(KINDS):
        mask = chosen[:, index]
        if images.device.type == "cuda":  # nobody waits to hear of it
            changed = _CHANGES[kind](flat, u)
            flat = torch.where(mask[:, None, None, None], changed, flat)
        elif len(own := mask.nonzero().flatten()):
            flat = flat.index_copy(0, own, _CHANGES[kind](flat[own], u[own]))
    return flat.view(images.shape)


def _flip(images: Tensor, u: Tensor) -> Tensor:
    return torch.where((u[:, 7] < 0.5)[:, None, None, None], images.flip(-1), images)


def _color(images: Tensor, u: Tensor) -> Tensor:
    bright, saturated, contrasted = u[:, :3, None, None, None].to(images).unbind(1)
    images = images + (bright - 0.5)
    mean = images.mean(1, keepdim=True)
    images = mean + (images - mean) * (2 * saturated)
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * (contrasted + 0.5)


def _crop(images: Tensor, u: Tensor) -> Tensor:
    for axis, number in ((-2, 3), (-1, 4)):
        side = images.shape[axis]
        reach = int(CROP * side + 0.5)
        shift = torch.floor(u[:, number] * (2 * reach + 1)).long() - reach
        source = torch.arange(side, device=images.device) + shift[:, None]
        inside = (source >= 0) & (source < side)
        source = source.clamp(0, side - 1)
        if axis == -2:
            source, inside = source[:, None, :, None], inside[:, None, :, None]
        else:
            source, inside = source[:, None, None, :], inside[:, None, None, :]
        images = images.gather(axis, source.expand(images.shape)) * inside
    return images


def _scale(images: Tensor, u: Tensor) -> Tensor:
    height, width = (1 / SCALE + (SCALE - 1 / SCALE) * u[:, 8:10]).unbind(1)
    zero = torch.zeros_like(width)
    return _affine(images, (width, zero), (zero, height))


def _rotate(images: Tensor, u: Tensor) -> Tensor:
    angle = (2 * u[:, 10] - 1) * (DEGREES * math.pi / 180)
    cos, sin = torch.cos(angle), torch.sin(angle)
    return _affine(images, (cos, -sin), (sin, cos))


def _affine(images: Tensor, across: Sequence[Tensor], down: Sequence[Tensor]) -> Tensor:
    """Sample images where these rows of a matrix lead, in coordinates from -1 to 1."""
    rows = [torch.stack((*row, torch.zeros_like(row[0])), dim=1) for row in (across, down)]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    if images.is_cuda and images.requires_grad:
        return sampled(images, grid.to(images))
    return functional.grid_sample(images, grid.to(images), align_corners=False)


def sampled(
    images: Float[Tensor, "n channels height width"], grid: Float[Tensor, "n height width 2"]
) -> Float[Tensor, "n channels height width"]:
    """Return what `grid_sample` does, by kernels whose way back gives the same bytes every time.

    That of `grid_sample` adds in any order on a GPU.
    """
    height, width = images.shape[-2:]
    across = ((grid[..., 0] + 1) * width - 1) / 2
    down = ((grid[..., 1] + 1) * height - 1) / 2
    left, top = across.floor(), down.floor()
    whole = torch.zeros_like(images)
    for x, across_share in ((left, 1 - (across - left)), (left + 1, across - left)):
        for y, down_share in ((top, 1 - (down - top)), (top + 1, down - top)):
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            place = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
            index = place.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
            share = (across_share * down_share * inside)[:, None]
            whole = whole + images.flatten(2).gather(2, index).view_as(images) * share
    return whole


def _cutout(images: Tensor, u: Tensor) -> Tensor:
    hits = []
    for axis, number in ((-2, 5), (-1, 6)):
        side = images.shape[axis]
        size = int(CUTOUT * side + 0.5)
        begin = torch.floor(u[:, number] * (side + 1 - size % 2)).long() - size // 2
        first, last = begin.clamp(0, side - 1), (begin + size - 1).clamp(0, side - 1)
        place = torch.arange(side, device=images.device)
        hits.append((place >= first[:, None]) & (place <= last[:, None]))
    down, across = hits
    return images * ~(down[:, None, :, None] & across[:, None, None, :])


_CHANGES = {
    "flip": _flip, "color": _color, "crop": _crop, "scale": _scale, "rotate": _rotate,
    "cutout": _cutout,
}  # fmt: skip
