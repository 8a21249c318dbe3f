"""Networks of one architecture, trained and tested side by side."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, func, nn


class Ensemble:
    """Calls several networks as one: each layer of all of them is one operation.

    One network alone runs as it is, which on a CPU is the fastest way.

    Attributes:
        parameters: those of all networks, stacked if there are several.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.size, self._network = len(networks), networks[0]
        self._state: dict[str, Tensor] = {}
        self.parameters: list[Tensor] = list(networks[0].parameters())
        if len(networks) > 1:
            parameters, buffers = func.stack_module_state(list(networks))
            self._state = {**parameters, **buffers}
            self.parameters = list(parameters.values())

    def train(self, mode: bool = True) -> None:
        """Go to training mode, or to evaluation mode."""
        self._network.train(mode)

    def __call__(
        self, images: Float[Tensor, "*models batch channels height width"]
    ) -> Float[Tensor, "all_models batch classes"]:
        """Return the logits of every network for its own images, or for those shared by all."""
        shared = images.ndim == 4
        if not self._state:
            return self._network(images if shared else images[0])[None]

        def one(state: dict[str, Tensor], own: Tensor) -> Tensor:
            return func.functional_call(self._network, state, (own,))

        return func.vmap(one, in_dims=(0, None if shared else 0))(self._state, images)


def descend(
    parameters: list[Tensor],
    gradients: tuple[Tensor, ...],
    velocities: list[Tensor],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """Do one step of SGD with momentum and weight decay, as torch.optim.SGD does it, in place.

    Args:
        velocities: zero before the first step, and updated.
    """
    with torch.no_grad():
        decayed = torch._foreach_add(gradients, parameters, alpha=weight_decay)
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, decayed)
        torch._foreach_add_(parameters, velocities, alpha=-lr)
