"""The augmentations of DC-BENCH (Cui et al. 2022, and their code), which are torchvision's.

One draw holds for a whole batch. The images are de-normalised, clipped to [0, 1], rounded to 256
levels, changed and normalised again, so that what is beyond a pixel's range is lost.

- `autoaugment`: torchvision's AutoAugment with the policy for CIFAR10.
- `randaugment`: RandAugment with one operation.
- `imagenet`: a random window of the image padded by 4, a horizontal flip, and ColorJitter(0.4,
  0.4, 0.4, 0.2).
- `cifar`: the same window and flip, and Cutout (DeVries and Taylor 2017) of 16 by 16 pixels around
  a pixel of the image: they become 0 of the normalised image, the mean.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.transforms import v2

from dclib.data.datasets import ImageDataset, channel_statistics
from dclib.seeding import global_seed

PIXELS = True
KINDS = ("autoaugment", "randaugment", "imagenet", "cifar")
PADDING, BLOCK = 4, 16


def draw(n: int, batch: int, kinds: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
    """Return arguments of `transform` for `n` images: one of `kinds` for every `batch` of them."""
    batches = -(-n // batch)
    one = torch.tensor([KINDS.index(kind) for kind in kinds])
    drawn = {
        "kind": one[torch.randint(len(kinds), (batches,), generator=generator)],
        "seed": torch.randint(2**63 - 1, (batches,), generator=generator),
    }
    return {name: value.repeat_interleave(batch)[:n] for name, value in drawn.items()}


def transform(
    images: Float[Tensor, "models n channels height width"],
    *,
    data: ImageDataset,
    kind: Int64[Tensor, "models n"],
    seed: Int64[Tensor, "models n"],
) -> Float[Tensor, "models n channels height width"]:
    """Change the batch of every model by what its first image says.

    Args:
        data: whose statistics the images are normalised by.
        kind: the index of one of `KINDS`.
        seed: of what torchvision draws.
    """
    mean, std = channel_statistics(data.mean, data.std, images.dtype, images.device)
    levels = ((images * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    changed = []
    for batch, chosen, drawn in zip(levels, kind[:, 0].tolist(), seed[:, 0].tolist(), strict=True):
        with global_seed(drawn, images.device):
            made = (_CHANGES[KINDS[chosen]](batch).to(images) / 255 - mean) / std
            changed.append(_cut(made) if KINDS[chosen] == "cifar" else made)
    return torch.stack(changed)


def _coloured(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Let torchvision see three channels where an image has one."""

    def changed(images: Tensor) -> Tensor:
        if images.shape[1] == 3:
            return change(images)
        return change(images.expand(-1, 3, -1, -1))[:, : images.shape[1]]

    return changed


def _cut(images: Float[Tensor, "n channels height width"]) -> Tensor:
    height, width = images.shape[-2:]
    top, left = (int(torch.randint(side, ())) - BLOCK // 2 for side in (height, width))
    images[..., max(0, top) : max(0, top + BLOCK), max(0, left) : max(0, left + BLOCK)] = 0
    return images


def _window(images: Tensor) -> Tensor:
    size = [*images.shape[-2:]]
    changed: Tensor = v2.Compose([v2.RandomCrop(size, PADDING), v2.RandomHorizontalFlip()])(images)
    return changed


_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "autoaugment": _coloured(v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)),
    "randaugment": _coloured(v2.RandAugment(num_ops=1)),
    "imagenet": lambda images: _coloured(v2.ColorJitter(0.4, 0.4, 0.4, 0.2))(_window(images)),
    "cifar": _window,
}
