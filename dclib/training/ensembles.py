"""Networks of one architecture, trained side by side and tested one after another."""

import copy
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dclib.networks import layers

# Images of a step from which on a GPU's kernels are large enough for one network at a time.
ALONE_FROM = 50


def together(models: int, batch: int, device: torch.device) -> int:
    """Return how many of `models` networks to train side by side, for steps of `batch` images.

    On a CPU, and with many images a step, one after another is as fast or faster.
    """
    return models if device.type == "cuda" and batch < ALONE_FROM else 1


class Ensemble:
    """Calls several networks as one: each layer of all of them is one operation.

    One network alone runs as it is.

    Attributes:
        parameters: those of all networks.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.size, self._network = len(networks), layers.stack(networks)
        self._alone = networks[0] if self.size == 1 else copy.deepcopy(networks[0])
        self.parameters: list[Tensor] = list(self._network.parameters())

    def train(self, mode: bool = True) -> None:
        """Go to training mode, or to evaluation mode."""
        self._network.train(mode)
        self._alone.train(mode)

    def load(self, networks: Sequence[nn.Module]) -> None:
        """Take over the parameters and buffers of as many networks, where they are in memory."""
        states = [network.state_dict() for network in networks]
        with torch.no_grad():
            for name, held in self._network.state_dict().items():
                for own, state in zip(self._parts(held), states, strict=True):
                    own.copy_(state[name])

    def each(self) -> Iterator[nn.Module]:
        """Return every network by itself: one module, which holds one after the other."""
        if self.size == 1:
            yield self._alone
            return
        stacked, alone = self._network.state_dict(), self._alone.state_dict()
        for index in range(self.size):
            with torch.no_grad():
                for name, tensor in alone.items():
                    tensor.copy_(self._parts(stacked[name])[index])
            yield self._alone

    def __call__(
        self, images: Float[Tensor, "models batch channels height width"]
    ) -> Float[Tensor, "models batch classes"]:
        """Return the logits of every network for its own images."""
        logits: Tensor = self._network(images.transpose(0, 1).flatten(1, 2))
        return logits.unflatten(1, (self.size, -1)).transpose(0, 1)

    def _parts(self, tensor: Tensor) -> Sequence[Tensor]:
        """Return the networks' own parts of a stacked tensor."""
        return tensor.chunk(self.size) if tensor.ndim else [tensor] * self.size


def descend(
    parameters: list[Tensor],
    gradients: Sequence[Tensor],
    velocities: list[Tensor],
    *,
    lr: Float[Tensor, ""],
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> None:
    """Do one step of SGD with momentum and weight decay, as torch.optim.SGD does it, in place.

    Args:
        velocities: zero before the first step, and updated; none without momentum.
        lr: where the parameters are, so that it may change under a recorded step.
    """
    with torch.no_grad():  # the kernel takes all to lie in memory alike
        torch._fused_sgd_(
            parameters,
            [gradient.contiguous() for gradient in gradients],
            velocities if momentum else [],
            lr=lr, momentum=momentum, weight_decay=weight_decay, dampening=0.0,
            nesterov=False, maximize=False, is_first_step=False,
        )  # fmt: skip
