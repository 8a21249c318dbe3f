"""The layers of networks as data: what each makes of what it is given, and what that takes.

It needs no PyTorch; `dclib.networks.layers` makes modules of them.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

Size = tuple[int, int]  # height and width in pixels
Activation = Literal["sigmoid", "relu", "leakyrelu", "swish"]
Normalisation = Literal["nonorm", "batchnorm", "layernorm", "instancenorm", "groupnorm"]

GROUPS = 4  # of groupnorm


@dataclass
class Maps:
    """What one layer hands to the next."""

    shape: tuple[int, ...]
    kept: bool = False


@dataclass
class Tally:
    """What the way of one image through a network adds up to."""

    parameters: int = 0
    kept: int = 0  # bytes of float32 that autograd keeps for the backward pass
    fits: bool = True  # no map became smaller than a kernel
    normed: float = math.inf  # the smaller side of the smallest map of which a norm takes the mean
    batchnorm: bool = False

    def keep(self, maps: Maps) -> Maps:
        """Autograd keeps the maps, once, whoever asks for them."""
        self.kept += 0 if maps.kept else 4 * math.prod(maps.shape)
        maps.kept = True
        return maps

    def slide(self, maps: Maps, kernel: int, padding: int, stride: int) -> Size:
        """Return the size of what a kernel makes of the maps."""
        height, width = ((s + 2 * padding - kernel) // stride + 1 for s in maps.shape[1:])
        self.fits &= min(height, width) > 0
        return max(0, height), max(0, width)


class Layer(ABC):
    """A layer as data."""

    @abstractmethod
    def apply(self, maps: Maps, tally: Tally) -> Maps:
        """Return what it makes of `maps`, and add what that takes to `tally`."""


Layers = tuple[Layer, ...]


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution; `first` for one that is made for images, which have few channels."""

    width: int
    kernel: int = 3
    padding: int = 1
    stride: int = 1
    bias: bool = True
    first: bool = False

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        tally.parameters += self.width * (maps.shape[0] * self.kernel**2 + self.bias)
        size = tally.slide(tally.keep(maps), self.kernel, self.padding, self.stride)
        return Maps((self.width, *size))


@dataclass(frozen=True)
class Norm(Layer):
    """Subtracts a mean and divides by a deviation, and scales and shifts the result."""

    kind: Normalisation

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        channels, *size = maps.shape
        if self.kind == "nonorm":
            return maps
        tally.keep(maps)
        tally.parameters += 2 * (math.prod(maps.shape) if self.kind == "layernorm" else channels)
        if self.kind == "batchnorm":
            tally.batchnorm = True
            tally.kept += 2 * channels  # four statistics of a batch, shared by its images: say 8
        else:  # the mean and the deviation of each group
            groups = {"layernorm": 1, "instancenorm": channels, "groupnorm": GROUPS}[self.kind]
            tally.kept += 2 * 4 * groups
        if self.kind != "layernorm":
            tally.normed = min(tally.normed, *size)
        return Maps(maps.shape)


@dataclass(frozen=True)
class Act(Layer):
    """An activation: sigmoid and ReLU keep what they return, the others what they get."""

    kind: Activation

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        if self.kind in ("sigmoid", "relu"):
            return tally.keep(Maps(maps.shape))
        tally.keep(maps)
        return Maps(maps.shape)


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest of each square; where it was is an int64."""

    kernel: int = 2
    stride: int = 2
    padding: int = 0

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        size = tally.slide(tally.keep(maps), self.kernel, self.padding, self.stride)
        tally.kept += 8 * math.prod((maps.shape[0], *size))
        return Maps((maps.shape[0], *size))


@dataclass(frozen=True)
class AvgPool(Layer):
    """The means of squares; `fast` for those of 2x2 as `dclib.networks.layers.Pool`."""

    kernel: int = 2
    fast: bool = False

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        size = tally.slide(tally.keep(maps), self.kernel, 0, self.kernel)
        return Maps((maps.shape[0], *size))


@dataclass(frozen=True)
class ResponseNorm(Layer):
    """Each value divided by a power of 1 and the mean square of a few channels around it."""

    channels: int
    alpha: float
    beta: float

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        tally.keep(maps)
        channels, *size = maps.shape
        tally.kept += 2 * 4 * math.prod((channels, *size))
        return Maps(maps.shape)


@dataclass(frozen=True)
class Pass(Layer):
    """Nothing, in a layer's place."""

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        return maps


@dataclass(frozen=True)
class Residual(Layer):
    """ReLU of the sum of what some layers and a shortcut make of the same maps."""

    body: Layers
    shortcut: Layers = ()

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        through(self.shortcut, maps, tally)
        return tally.keep(Maps(through(self.body, maps, tally).shape))


@dataclass(frozen=True)
class Flatten(Layer):
    """Maps become one row of values."""

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        return maps


@dataclass(frozen=True)
class Linear(Layer):
    """A fully connected layer."""

    width: int

    def apply(self, maps: Maps, tally: Tally) -> Maps:
        tally.parameters += self.width * (math.prod(tally.keep(maps).shape) + 1)
        return Maps((self.width,))


RELU = Act("relu")


def through(layers: Layers, maps: Maps, tally: Tally) -> Maps:
    """Return what layers make of `maps`, one after another, and add what that takes."""
    for layer in layers:
        maps = layer.apply(maps, tally)
    return maps
