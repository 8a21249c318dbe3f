"""The layers of `dclib.networks.names` as PyTorch's modules."""

import functools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dclib.networks import names

Shape = tuple[int, ...]

_ACTIVATIONS: dict[names.Activation, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "leakyrelu": lambda: nn.LeakyReLU(0.01),
    "swish": nn.SiLU,
}
_NORMS: dict[names.Normalisation, Callable[[Shape], nn.Module]] = {
    "nonorm": lambda shape: nn.Identity(),
    "batchnorm": lambda shape: nn.BatchNorm2d(shape[0]),
    "layernorm": lambda shape: nn.LayerNorm(list(shape)),
    "instancenorm": lambda shape: nn.GroupNorm(shape[0], shape[0]),
    "groupnorm": lambda shape: nn.GroupNorm(names.GROUPS, shape[0]),
}


class Pool(nn.Module):
    """2x2 average pooling; on a CPU a matrix product, since PyTorch's own loop is much slower."""

    def forward(
        self, maps: Float[Tensor, "*batch height width"]
    ) -> Float[Tensor, "*batch half_height half_width"]:
        """Return the means of squares of 2x2."""
        height, width = maps.shape[-2:]
        if maps.device.type != "cpu" or height % 2 or width % 2:
            return functional.avg_pool2d(maps, 2)
        pairs = maps.reshape(*maps.shape[:-2], height // 2, 2 * width)
        return pairs @ _means_of_squares(width, maps.dtype)


@functools.lru_cache
def _means_of_squares(width: int, dtype: torch.dtype) -> Float[Tensor, "two_rows half_width"]:
    """Return the matrix that takes two rows, one after the other, to the means of their squares."""
    columns = torch.eye(width // 2, dtype=dtype).repeat_interleave(2, dim=0)
    return columns.repeat(2, 1) / 4


class FirstConv(nn.Conv2d):
    """A convolution of few channels; in bfloat16 on a CPU a matrix product, which is faster."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps of a batch of images."""
        if images.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(images)
        assert self.bias is not None
        padding, kernel = int(self.padding[0]), self.kernel_size[0]
        patches = functional.unfold(images.bfloat16(), kernel, padding=padding)
        weight = self.weight.flatten(1).expand(len(images), -1, -1)
        bias = self.bias[:, None].expand(len(images), -1, -1)
        maps = torch.baddbmm(bias, weight, patches)
        return maps.unflatten(-1, (images.shape[-2] + 2 * padding - kernel + 1, -1))


class Residual(nn.Module):
    """ReLU of the sum of what `residual` and `shortcut` make of the same maps."""

    def __init__(self, residual: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.residual = residual
        self.shortcut = shortcut

    def forward(
        self, maps: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch maps new_height new_width"]:
        """Return the maps of the block."""
        return functional.relu(self.residual(maps) + self.shortcut(maps))


def sequence(layers: names.Layers, shape: Shape) -> nn.Sequential:
    """Return layers with PyTorch's default initialisation, in order, from the global generator.

    Args:
        shape: of what the first of them gets, without the batch.
    """
    modules, maps = nn.Sequential(), names.Maps(shape)
    for layer in layers:
        modules.append(_module(layer, maps.shape))
        maps = layer.apply(maps, names.Tally())
    return modules


def _module(layer: names.Layer, shape: Shape) -> nn.Module:
    match layer:
        case names.Conv(width, kernel, padding, stride, bias, first):
            kind = FirstConv if first else nn.Conv2d
            return kind(shape[0], width, kernel, stride=stride, padding=padding, bias=bias)
        case names.Norm(norm):
            return _NORMS[norm](shape)
        case names.Act(activation):
            return _ACTIVATIONS[activation]()
        case names.MaxPool(kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case names.AvgPool(kernel, fast):
            return Pool() if fast else nn.AvgPool2d(kernel)
        case names.ResponseNorm(channels, alpha, beta):
            return nn.LocalResponseNorm(channels, alpha, beta, k=1)
        case names.Residual(body, shortcut):
            return Residual(
                sequence(body, shape), sequence(shortcut, shape) if shortcut else nn.Identity()
            )
        case names.Flatten():
            return nn.Flatten()
        case names.Linear(width):
            return nn.Linear(math.prod(shape), width)
    assert isinstance(layer, names.Pass)
    return nn.Identity()
