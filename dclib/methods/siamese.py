"""The same random change for all images of a class, real and synthetic (Zhao and Bilen 2021)."""

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor


class Siamese:
    """One draw for each class: one kind, and one set of parameters for all images.

    Real and synthetic images that are changed between two calls of `draw` are changed alike
    (section 3.2 and Algorithm 1). What was drawn stays where it is in memory.
    """

    def __init__(
        self, kinds: Sequence[str], classes: int, device: torch.device, way: ModuleType
    ) -> None:
        """Begin without a draw.

        Args:
            kinds: of augmentation; without any, images stay as they are.
            way: whose they are, a module of `dclib.training.augmentation`.
        """
        self.kinds, self._classes, self._way = kinds, classes, way
        self._rows = {
            name: value.to(device) for name, value in self._drawn(torch.Generator()).items()
        }

    def draw(self, generator: torch.Generator) -> None:
        """Draw anew for every class."""
        if self.kinds:
            for name, value in self._drawn(generator).items():
                self._rows[name].copy_(value, non_blocking=True)

    def __call__(self, images: Sequence[Tensor], first: int = 0) -> list[Tensor]:
        """Return the images of classes, a batch [n, channels, height, width] for each, changed.

        Args:
            first: the first class.
        """
        if not self.kinds:
            return list(images)
        sizes = [len(own) for own in images]
        moves = {
            name: torch.cat(
                [row.expand(n, -1) for row, n in zip(rows[first:].split(1), sizes, strict=False)]
            )
            for name, rows in self._rows.items()
        }
        changed: Tensor = self._way.transform(torch.cat(list(images)), **moves)
        return list(changed.split(sizes))

    def _drawn(self, generator: torch.Generator) -> dict[str, Tensor]:
        if not self.kinds:
            return {}
        drawn: dict[str, Tensor] = self._way.draw(self._classes, 1, self.kinds, generator)
        return drawn
