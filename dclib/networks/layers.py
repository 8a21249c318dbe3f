"""The layers of `dclib.networks.parts` as PyTorch's modules."""

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dclib.networks import parts

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
    "batchnorm": lambda shape: BatchNorm(shape[0]),
    "layernorm": lambda shape: LayerNorm(list(shape)),
    "instancenorm": lambda shape: GroupNorm(shape[0], shape[0]),
    "groupnorm": lambda shape: GroupNorm(parts.GROUPS, shape[0]),
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
        """Return the maps of a batch."""
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
        """Return the maps of a batch of images."""
        if images.device.type != "cpu" or self.groups > 1 or not torch.is_autocast_enabled("cpu"):
            return super().forward(images)
        assert self.bias is not None
        padding, kernel = int(self.padding[0]), self.kernel_size[0]
        patches = functional.unfold(images.bfloat16(), kernel, padding=padding)
        weight = self.weight.flatten(1).expand(len(images), -1, -1)
        bias = self.bias[:, None].expand(len(images), -1, -1)
        maps = torch.baddbmm(bias, weight, patches)
        return maps.unflatten(-1, (images.shape[-2] + 2 * padding - kernel + 1, -1))


class BatchNorm(nn.BatchNorm2d):
    """Normalisation over the batch, or by running statistics in evaluation mode."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the normalised maps of a batch."""
        if maps.dtype != torch.bfloat16 or maps.is_cuda or self.training:
            return super().forward(maps)
        with as_stored(maps):  # batched over classes, PyTorch takes no two types on a CPU
            return super().forward(maps.float()).to(maps.dtype)


class GroupNorm(nn.GroupNorm):
    """Normalisation of groups of channels; bfloat16 stays so, with statistics in float32."""

    def forward(self, maps: Tensor) -> Tensor:
        """Return the normalised maps of a batch."""
        with as_stored(maps):
            if self.weight.requires_grad or not maps.requires_grad:
                weight, bias = _like(maps, self.weight), _like(maps, self.bias)
                return functional.group_norm(maps, self.num_groups, weight, bias, self.eps)
            weight, bias = self.weight.to(maps.dtype), self.bias.to(maps.dtype)
            made: Tensor = _FixedNorm.apply(maps, weight, bias, self.num_groups, self.eps)[0]
            return made


class _FixedNorm(torch.autograd.Function):
    """GroupNorm whose weights are not learnt, differentiable twice by native kernels.

    PyTorch takes the way back apart into single products, some hundred of them, when that is going
    to be differentiated.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        maps: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, channels, size = len(maps), maps.shape[1], maps[0, 0].numel()
        return torch.native_group_norm(maps, weight, bias, n, channels, size, groups, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        maps, weight, _, ctx.groups, ctx.eps = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(maps, weight, *output[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return (None,) * 5
        maps, weight, mean, rstd = ctx.saved_tensors
        back = _FixedNormBack.apply(gradient, maps, weight, mean, rstd, ctx.groups, ctx.eps)
        return back, None, None, None, None


class _FixedNormBack(torch.autograd.Function):
    """The way back of `_FixedNorm`.

    With x the normalised maps, r the inverse standard deviation, m the mean over a group and
    P(u) = u - m(u) - x m(u x), it is r P(g) for the gradient g times the weight. Of <v, r P(g)> the
    gradient with respect to g is r P(v), and with respect to the maps
    -r (r P(m(g x) v + m(v x) g) + m(v r P(g)) x).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        gradient: Tensor, maps: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor,
        groups: int, eps: float,
    ) -> Tensor:  # fmt: skip
        return _norm_back(gradient, maps, weight, mean, rstd, groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.groups, ctx.eps = inputs[5:]
        ctx.save_for_backward(*inputs[:5], output)

    @staticmethod
    def backward(ctx: Any, change: Tensor) -> tuple[Tensor | None, ...]:
        gradient, maps, weight, mean, rstd, back = ctx.saved_tensors
        by_group = len(maps), ctx.groups, -1
        scaled = (gradient * weight[:, None, None]).view(by_group)
        normalised = functional.group_norm(maps, ctx.groups, eps=ctx.eps).view(by_group)
        change = change.contiguous()
        own = change.view(by_group)
        mixed = (scaled * normalised).mean(-1, keepdim=True) * own
        mixed = torch.addcmul(mixed, (own * normalised).mean(-1, keepdim=True), scaled)
        to_maps = _norm_back(mixed.view_as(maps), maps, None, mean, rstd, ctx.groups).view(by_group)
        along = (own * back.view(by_group)).mean(-1, keepdim=True)
        to_maps = -rstd[..., None] * torch.addcmul(to_maps, along, normalised)
        to_gradient = _norm_back(change, maps, None, mean, rstd, ctx.groups)
        to_gradient = to_gradient * weight[:, None, None]
        return to_gradient, to_maps.view_as(maps), None, None, None, None, None


def _norm_back(
    gradient: Tensor, maps: Tensor, weight: Tensor | None, mean: Tensor, rstd: Tensor, groups: int
) -> Tensor:
    n, channels, size = len(maps), maps.shape[1], maps[0, 0].numel()
    back: Tensor = torch.ops.aten.native_group_norm_backward(
        gradient.contiguous(), maps, mean, rstd, weight, n, channels, size, groups,
        [True, False, False],
    )[0]  # fmt: skip
    return back


class LayerNorm(nn.LayerNorm):
    """Normalisation of all maps of an image; bfloat16 stays so, with statistics in float32.

    Attributes:
        networks: side by side, each with its own statistics and weights, see `stack`.
    """

    networks = 1

    def forward(self, maps: Tensor) -> Tensor:
        """Return the normalised maps of a batch."""
        with as_stored(maps):
            weight, bias = _like(maps, self.weight), _like(maps, self.bias)
            if self.networks == 1:
                return functional.layer_norm(maps, self.normalized_shape, weight, bias, self.eps)
            normalised = functional.group_norm(maps, self.networks, eps=self.eps)
            return torch.addcmul(bias, normalised, weight)


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


def as_stored(maps: Tensor) -> torch.autocast:
    """Return a context in which operations compute in the type of `maps`, whatever autocast says.

    Autocast would bring the maps of a norm to float32 on a GPU.
    """
    return torch.autocast("cuda" if maps.is_cuda else "cpu", enabled=False)


def _like(maps: Tensor, parameter: Tensor) -> Tensor:
    """Return a parameter in the type of `maps`, where the device's kernels want it so."""
    return parameter.to(maps.dtype) if maps.is_cuda else parameter


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
            case GroupNorm():
                module.num_groups *= count
                module.num_channels *= count
            case nn.BatchNorm2d():
                module.num_features *= count
            case Linear() | LayerNorm() | ResponseNorm():
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
    match module:
        case nn.Conv2d() if key == "bias":
            return gradient.sum((0, 2, 3))
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
            return gradient.sum(0) if key == "bias" else gradient.mT @ given
        case nn.LayerNorm():
            normalised = functional.layer_norm(given, module.normalized_shape, eps=module.eps)
            return (gradient if key == "bias" else gradient * normalised).sum(0)
        case nn.GroupNorm():
            normalised = functional.group_norm(given, module.num_groups, eps=module.eps)
        case _:
            assert isinstance(module, nn.BatchNorm2d)
            assert not module.training
            normalised = functional.batch_norm(
                given, module.running_mean, module.running_var, eps=module.eps
            )
    return (gradient if key == "bias" else gradient * normalised).sum((0, 2, 3))


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
