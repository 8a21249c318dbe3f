"""ZCA whitening: images whose pixels are no longer correlated, and the way back.

All pixels of all channels of an image are one vector. From the training images, scaled to [0, 1],
come its mean m and the eigenvectors U and eigenvalues s of its covariance (over n - 1); whitened, x
is (x - m) U diag(1 / sqrt(s + EPSILON)) U'. So MTT does it (Cazenavette et al. 2022), whose images
networks take without mean and standard deviation besides. What KIP whitens is something else.
"""

import dataclasses
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dclib.data import checks
from dclib.data.datasets import ImageDataset
from dclib.errors import InputError
from dclib.tensors import read_sealed, write_sealed

EPSILON = 0.1
_AT_ONCE = 4096  # images


@dataclasses.dataclass(frozen=True)
class Whitening:
    """Whitens images of one data set.

    Attributes:
        mean: of every pixel, channel by channel, row by row.
        vectors: an eigenvector of the covariance in each column.
        values: the eigenvalues.
    """

    mean: Float[Tensor, " pixels"]
    vectors: Float[Tensor, "pixels pixels"]
    values: Float[Tensor, " pixels"]

    @classmethod
    def fit(cls, data: ImageDataset) -> "Whitening":
        """Return what whitens the training images of `data`, in float32 from float64.

        Raises:
            InputError: they are too large for that.
        """
        if fault := checks.whitening_fault(data.name, data.facts):
            raise InputError(fault)
        flat = data.train_images.flatten(1)
        mean = torch.zeros(flat.shape[1], dtype=torch.float64, device=flat.device)
        for part in flat.split(_AT_ONCE):
            mean += part.double().sum(0) / (255 * len(flat))
        covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=flat.device)
        for part in flat.split(_AT_ONCE):
            apart = part.double() / 255 - mean
            covariance.addmm_(apart.T, apart)
        values, vectors = torch.linalg.eigh(covariance / (len(flat) - 1))
        return cls(mean.float(), vectors.float(), values.clamp(min=0).float())

    def apply(
        self,
        images: Float[Tensor, "n channels height width"] | UInt8[Tensor, "n channels height width"],
    ) -> Float[Tensor, "n channels height width"]:
        """Return images whitened; they are pixels from 0 to 1, or from 0 to 255 as uint8."""
        whitened = torch.empty(images.shape, device=images.device)
        for part, out in zip(images.split(_AT_ONCE), whitened.split(_AT_ONCE), strict=True):
            pixels = part / 255 if part.dtype == torch.uint8 else part
            out.copy_(self._turned(pixels.flatten(1) - self._on(images.device).mean, -0.5, part))
        return whitened

    def invert(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "n channels height width"]:
        """Return whitened images as pixels, from 0 to 1 but for what was learnt beyond."""
        turned = self._turned(images.flatten(1), 0.5, images)
        return turned + self._on(images.device).mean.view(images.shape[1:])

    def save(self, path: str | Path) -> None:
        """Write it as safetensors."""
        write_sealed(path, dataclasses.asdict(self), {})

    @classmethod
    def load(cls, path: str | Path) -> "Whitening":
        """Return what `save` wrote.

        Raises:
            Damaged: its content is not that of which the fingerprint was taken.
            InputError: the file is missing, truncated, or no whitening.
        """
        tensors, _ = read_sealed(path)
        names = {field.name for field in dataclasses.fields(cls)}
        if tensors.keys() != names:
            raise InputError(f"{path}: not a whitening, it has {', '.join(sorted(tensors))}")
        return cls(**tensors)

    def _turned(self, flat: Tensor, power: float, like: Tensor) -> Tensor:
        own = self._on(flat.device)
        turned = flat @ own.vectors * (own.values + EPSILON) ** power @ own.vectors.T
        return turned.view(like.shape)

    def _on(self, device: torch.device) -> "Whitening":
        if self.mean.device == device:
            return self
        return Whitening(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))
