"""Two images in one, with the labels of both (CutMix, Yun et al. 2019, as IDC trains with it)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def draw(n: int, batch: int, probability: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Return arguments of `cut` for `n` images that come in batches.

    A batch is mixed with this probability; then every image gets one box of the image that is its
    partner in the batch. The box is the same in the whole batch: its share of the area is uniform
    from 0 to 1, its centre anywhere, and what hangs over is cut off.
    """
    batches = -(-n // batch)
    u = torch.rand(4, batches, generator=generator, dtype=torch.float64)
    mixed, area, down, right = u
    half = torch.where(mixed < probability, area.sqrt() / 2, 0.0)
    edges = torch.stack((down - half, down + half, right - half, right + half), dim=1)
    box = torch.where(half[:, None] > 0, edges.clamp(0, 1), 0.0)
    sizes = [min(batch, n - begin) for begin in range(0, n, batch)]
    partner = torch.cat([torch.randperm(size, generator=generator) for size in sizes])
    return {"partner": partner, "box": box.repeat_interleave(batch, dim=0)[:n]}


def cut(
    images: Float[Tensor, "*batches n channels height width"],
    *,
    partner: Int64[Tensor, "*batches n"],
    box: Float[Tensor, "*batches n 4"],
) -> tuple[Float[Tensor, "*batches n channels height width"], Float[Tensor, "*batches n"]]:
    """Return images with a box of their partner in each, and the share of the area that it has.

    Args:
        partner: the index of another image of the batch.
        box: top, bottom, left and right, as parts of height and width.
    """
    height, width = images.shape[-2:]
    top, bottom = (box[..., :2] * height).round().long().unbind(-1)
    left, right = (box[..., 2:] * width).round().long().unbind(-1)
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    down = (rows >= top[..., None]) & (rows < bottom[..., None])
    across = (columns >= left[..., None]) & (columns < right[..., None])
    inside = down[..., None, :, None] & across[..., None, None, :]
    index = partner[..., None, None, None].expand(images.shape)
    share = (bottom - top) * (right - left) / (height * width)
    return torch.where(inside, images.gather(-4, index), images), share.to(images)
