"""The layers of `dclib.networks.parts` as PyTorch's modules."""

import copy
import functools
import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dclib.networks import norms, parts

Shape = tuple[int, ...]

_VECTOR = 16  # float32 numbers that AVX-512 takes at once
_ACTIVATIONS: dict[parts.Activation, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "leakyrelu": lambda: nn.LeakyReLU(0.01),
    "swish": nn.SiLU,
}
_NORMS: dict[parts.Normalisation, Callable[[Shape], nn.Module]] = {
    "nonorm": lambda shape: nn.Identity(),
    "batchnorm": lambda shape: norms.BatchNorm(shape[0]),
    "layernorm": lambda shape: norms.LayerNorm(list(shape)),
    "instancenorm": lambda shape: norms.GroupNorm(shape[0], shape[0]),
    "groupnorm": lambda shape: norms.GroupNorm(parts.GROUPS, shape[0]),
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


class Conv(nn.Conv2d):
    """A convolution; in float32 on a CPU with AVX-512 by the kernels for channels that come last.

    They take up to half the time, which pays for bringing the maps to that order and back.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps of a batch, or of one image."""
        if not _channels_last_is_faster(self, maps):
            return super().forward(maps)
        weight = self.weight.contiguous(memory_format=torch.channels_last)
        maps = maps.contiguous(memory_format=torch.channels_last)
        if maps.requires_grad:
            maps.register_hook(Tensor.contiguous)  # what comes before is slower in that order
        return self._conv_forward(maps, weight, self.bias).contiguous()


def _channels_last_is_faster(conv: nn.Conv2d, maps: Tensor) -> bool:
    return (
        maps.device.type == "cpu"
        and maps.dtype == torch.float32
        and maps.ndim == 4  # a batch
        and conv.groups == 1
        and conv.in_channels >= _VECTOR
        and conv.out_channels >= _VECTOR
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch._C._functorch.peek_interpreter_stack() is None  # vmap knows no other order
    )


class FirstConv(nn.Conv2d):
    """A convolution of few channels; in bfloat16 on a CPU a matrix product, which is faster."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the maps of a batch of images, or of one."""
        plain = images.device.type != "cpu" or self.groups > 1 or images.ndim < 4
        if plain or not torch.is_autocast_enabled("cpu"):
            return super().forward(images)
        assert self.bias is not None
        padding, kernel = int(self.padding[0]), self.kernel_size[0]
        patches = functional.unfold(images.bfloat16(), kernel, padding=padding)
        weight = self.weight.flatten(1).expand(len(images), -1, -1)
        bias = self.bias[:, None].expand(len(images), -1, -1)
        maps = torch.baddbmm(bias, weight, patches)
        return maps.unflatten(-1, (images.shape[-2] + 2 * padding - kernel + 1, -1))


class Linear(nn.Linear):
    """A fully connected layer.

    Attributes:
        networks: side by side, see `stack`.
    """

    networks = 1

    def forward(self, features: Tensor) -> Tensor:
        """Return what it makes of a batch."""
        if self.networks == 1:
            return super().forward(features)
        own = features.unflatten(1, (self.networks, -1)).transpose(0, 1)
        weight = self.weight.unflatten(0, (self.networks, -1)).transpose(1, 2)
        bias = self.bias.view(self.networks, 1, -1)
        return torch.baddbmm(bias, own, weight).transpose(0, 1).flatten(1)


class ResponseNorm(nn.Module):
    """Local response normalisation (Krizhevsky et al. 2012, section 3.3), with k = 1.

    PyTorch's own pools in three dimensions, which on a GPU gives other bytes every time.

    Attributes:
        networks: side by side, see `stack`.
    """

    networks = 1

    def __init__(self, channels: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.channels, self.alpha, self.beta = channels, alpha, beta

    def forward(self, maps: Tensor) -> Tensor:
        """Return the maps divided by what those of the channels around add up to."""
        own = maps.unflatten(1, (self.networks, -1))
        before = self.channels // 2
        padding = (0, 0, 0, 0, before, self.channels - 1 - before)
        squares = functional.pad(own.square(), padding)
        count = own.shape[2]
        around = squares[:, :, :count]
        for shift in range(1, self.channels):
            around = around + squares[:, :, shift : shift + count]
        return (own / (1 + self.alpha / self.channels * around) ** self.beta).flatten(1, 2)


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


def stack(networks: Sequence[nn.Module]) -> nn.Module:
    """Return networks of one architecture side by side, as one network of groups of channels.

    It takes the channels of every network's image one after another, and returns their outputs so.
    Its parameters and buffers have the names of theirs, and all of theirs along the first
    dimension. What autograd keeps, and the kernels, are those of an ordinary network.

    Args:
        networks: of the layers in this module and those of PyTorch's that have no parameters.
    """
    if (count := len(networks)) == 1:
        return networks[0]
    stacked = copy.deepcopy(networks[0])
    for module in stacked.modules():
        match module:
            case nn.Conv2d():
                module.groups *= count
                module.in_channels *= count
                module.out_channels *= count
            case norms.GroupNorm():
                module.num_groups *= count
                module.num_channels *= count
            case nn.BatchNorm2d():
                module.num_features *= count
            case Linear() | norms.LayerNorm() | ResponseNorm():
                module.networks = count
    members = [dict(network.named_parameters()) for network in networks]
    for name in members[0]:
        owner, _, key = name.rpartition(".")
        together = torch.cat([member[name].detach() for member in members])
        setattr(stacked.get_submodule(owner), key, nn.Parameter(together))
    held = [dict(network.named_buffers()) for network in networks]
    for name, buffer in held[0].items():
        if buffer.ndim:  # the count of batches is the same for all
            owner, _, key = name.rpartition(".")
            setattr(stacked.get_submodule(owner), key, torch.cat([one[name] for one in held]))
    return stacked


def own_gradient(
    module: nn.Module, key: str, given: Float[Tensor, "n *_"], gradient: Float[Tensor, "n *_"]
) -> Tensor:
    """Return the gradient of a layer's parameter `key`, from that of its output.

    Args:
        given: what the layer took, a batch, in the type of `gradient`.
        gradient: of what it made of it.
    """
    if key == "bias":
        flat = isinstance(module, nn.Linear | nn.LayerNorm)
        return gradient.sum(0) if flat else gradient.sum((0, 2, 3))
    match module:
        case FirstConv() if gradient.dtype == torch.bfloat16 and not gradient.is_cuda:
            patches = functional.unfold(given, module.kernel_size, padding=int(module.padding[0]))
            return torch.bmm(gradient.flatten(2), patches.mT).sum(0).view(module.weight.shape)
        case nn.Conv2d():
            weight = torch.empty_like(module.weight, dtype=gradient.dtype)  # for its shape
            if _channels_last_is_faster(module, given):
                given = given.contiguous(memory_format=torch.channels_last)
                gradient = gradient.contiguous(memory_format=torch.channels_last)
            found = torch.ops.aten.convolution_backward(
                gradient, given, weight, None, module.stride, module.padding, module.dilation,
                False, [0, 0], module.groups, [False, True, False],
            )  # fmt: skip
            return found[1]
        case nn.Linear():
            return gradient.mT @ given
        case nn.LayerNorm():
            normalised = functional.layer_norm(given, module.normalized_shape, eps=module.eps)
            return (gradient * normalised).sum(0)
        case nn.GroupNorm() if gradient.dtype != torch.bfloat16:  # which statistics would be in
            return norms.weight_gradient(gradient, given, module.num_groups, module.eps)
        case nn.GroupNorm():
            normalised = functional.group_norm(given, module.num_groups, eps=module.eps)
        case _:
            assert isinstance(module, nn.BatchNorm2d)
            assert not module.training
            normalised = functional.batch_norm(
                given, module.running_mean, module.running_var, eps=module.eps
            )
    return (gradient * normalised).sum((0, 2, 3))


def sequence(layers: parts.Layers, shape: Shape) -> nn.Sequential:
    """Return layers with PyTorch's default initialisation, in order, from the global generator.

    Args:
        shape: of what the first of them gets, without the batch.
    """
    modules, maps = nn.Sequential(), parts.Maps(shape)
    for layer in layers:
        modules.append(_module(layer, maps.shape))
        maps = layer.apply(maps, parts.Tally())
    return modules


def _module(layer: parts.Layer, shape: Shape) -> nn.Module:
    match layer:
        case parts.Conv(width, kernel, padding, stride, bias, first):
            kind = FirstConv if first else Conv
            return kind(shape[0], width, kernel, stride=stride, padding=padding, bias=bias)
        case parts.Norm(norm):
            return _NORMS[norm](shape)
        case parts.Act(activation):
            return _ACTIVATIONS[activation]()
        case parts.MaxPool(kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case parts.AvgPool(kernel, fast):
            return Pool() if fast else nn.AvgPool2d(kernel)
        case parts.ResponseNorm(channels, alpha, beta):
            return ResponseNorm(channels, alpha, beta)
        case parts.Residual(body, shortcut):
            return Residual(
                sequence(body, shape), sequence(shortcut, shape) if shortcut else nn.Identity()
            )
        case parts.Flatten():
            return nn.Flatten()
        case parts.Linear(width):
            return Linear(math.prod(shape), width)
    assert isinstance(layer, parts.Pass)
    return nn.Identity()
