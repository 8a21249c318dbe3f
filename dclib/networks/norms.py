"""Normalisations as PyTorch's modules: in bfloat16, side by side, and differentiable twice."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


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


def weight_gradient(
    gradient: Float[Tensor, "n channels *_"], maps: Float[Tensor, "n channels *_"],
    groups: int, eps: float,
) -> Float[Tensor, " channels"]:  # fmt: skip
    """Return the gradient of the weights of a GroupNorm from that of its output.

    Args:
        maps: what it took.
    """
    n, channels, size = len(maps), maps.shape[1], maps[0, 0].numel()
    maps, gradient = maps.contiguous(), gradient.contiguous()
    _, mean, rstd = torch.native_group_norm(maps, None, None, n, channels, size, groups, eps)
    of_weight: Tensor = torch.ops.aten.native_group_norm_backward(
        gradient, maps, mean, rstd, maps.new_ones(channels), n, channels, size, groups,
        [False, True, False],
    )[1]  # fmt: skip
    return of_weight


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
        if maps.dtype == torch.bfloat16 and not maps.is_cuda:
            # Batched over classes, PyTorch takes no two types on a CPU.
            made: Tensor = self(maps.float()).to(maps.dtype)
            return made
        with as_stored(maps):
            weight, bias = _like(maps, self.weight), _like(maps, self.bias)
            if self.networks == 1:
                return functional.layer_norm(maps, self.normalized_shape, weight, bias, self.eps)
            normalised = functional.group_norm(maps, self.networks, eps=self.eps)
            return torch.addcmul(bias, normalised, weight)


def as_stored(maps: Tensor) -> torch.autocast:
    """Return a context in which operations compute in the type of `maps`, whatever autocast says.

    Autocast would bring the maps of a norm to float32 on a GPU.
    """
    return torch.autocast("cuda" if maps.is_cuda else "cpu", enabled=False)


def _like(maps: Tensor, parameter: Tensor) -> Tensor:
    """Return a parameter in the type of `maps`, where the device's kernels want it so."""
    return parameter.to(maps.dtype) if maps.is_cuda else parameter
