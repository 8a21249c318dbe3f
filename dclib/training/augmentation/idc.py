"""The augmentation of Kim et al. 2022 (IDC, and their code), in the terms of `dsa`.

`flip`, `color` and `cutout`, if listed, are always applied; of `crop`, `scale` and `rotate` one is
drawn for a batch. Parameters are those of every image.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dclib.training.augmentation import dsa

PIXELS = False
_DRAWN = ("crop", "scale", "rotate")

transform = dsa.transform


def draw(n: int, batch: int, kinds: Sequence[str], generator: torch.Generator) -> dict[str, Tensor]:
    """Return arguments of `transform` for `n` images that come in batches."""
    drawn = [kind for kind in kinds if kind in _DRAWN]
    return dsa._drawn(n, batch, drawn, [kind for kind in kinds if kind not in drawn], generator)
