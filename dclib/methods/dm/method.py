"""Dataset condensation with distribution matching (Zhao and Bilen, WACV 2023, Algorithm 1)."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import checkpoint

from dclib import devices, footprint, graphs, memory
from dclib.errors import InputError
from dclib.methods.dm.settings import GROWS, no_features
from dclib.methods.learning import Learning, State
from dclib.methods.siamese import Siamese
from dclib.networks import names
from dclib.networks import plans as networks
from dclib.training.augmentation import dsa

Found = TypeVar("Found")


class DistributionMatching(Learning):
    """The method `dm`."""

    grows = GROWS

    def __init__(self, network: str, *more: Any, **named: Any) -> None:
        """Prepare the learning of images, as `Learning` does.

        Raises:
            InputError: as `Learning` does, or the network has no features.
        """
        if fault := no_features(names.parse(network)):
            raise InputError(f"method 'dm': {fault}")
        super().__init__(network, *more, **named)

    def step(self, state: State) -> dict[str, Tensor]:
        """Match the features of one freshly initialised network, and go one step."""
        steps = state.steps = state.steps or _Steps(self, state)
        steps.draw(self.networks.take(state.random))
        with devices.precision(self.device, self.settings.precision):
            steps.match()
        self.networks.prepare(state.random)
        return {"loss": steps.loss / self.data.num_classes}


class _Steps:
    """The parts of a step, on a network and buffers that stay where they are in memory."""

    def __init__(self, method: DistributionMatching, state: State) -> None:
        self.settings, self.state, self.data = method.settings, state, method.data
        self._seen = method.seen
        self.ipc, self.device, self.dtype = method.ipc, method.device, method.dtype
        self.network = method.fresh_network(0).requires_grad_(False)
        self.loss = torch.zeros((), dtype=self.dtype, device=self.device)
        self.match = graphs.Repeated(self._match, self.device)
        self._siamese = Siamese(self.settings.augmentation, self.data.num_classes, self.device, dsa)
        self._sizes: list[int] = []  # real images of every class, and which
        self._indices: Tensor

    def draw(self, fresh: networks.Network) -> None:
        """Take over the parameters of `fresh`, and choose real images and moves.

        Random numbers are drawn on the CPU, so that all devices get the same.
        """
        self.network.load_state_dict(fresh.state_dict())
        chosen = self.data.sample(self.settings.real_batch, self.state.random["real batches"])
        if not self._sizes:
            self._sizes = [len(own) for own in chosen]
            self._indices = torch.cat(chosen).to(self.device)
        self._indices.copy_(torch.cat(chosen), non_blocking=True)
        self._siamese.draw(self.state.random["siamese"])

    def _match(self) -> None:
        state, settings = self.state, self.settings
        indices = self._indices.split(self._sizes)

        def real(classes: slice) -> Tensor:
            pixels = self.data.train_images[torch.cat(indices[classes])]
            return self.data.normalise(pixels, self.dtype)

        by_class = state.images.view(len(indices), self.ipc, *state.images.shape[1:])
        loss, gradient = match(self.network, real, self._sizes, by_class, self._siamese, self._seen)
        state.momentum.mul_(settings.momentum_img).add_(gradient.view_as(state.images))
        state.images.sub_(state.momentum, alpha=settings.lr_img)
        self.loss.copy_(loss)


def match(
    network: networks.Network,
    real: Callable[[slice], Float[Tensor, "n channels height width"]],
    sizes: Sequence[int],
    synthetic: Float[Tensor, "classes ipc channels height width"],
    change: Callable[[Sequence[Tensor], int], list[Tensor]],
    decode: Callable[[Tensor], Tensor] = lambda images: images,
) -> tuple[Float[Tensor, ""], Float[Tensor, "classes ipc channels height width"]]:
    """Return the matching loss and its gradient with respect to the synthetic images.

    The loss is the squared distance between the mean features of a class's real images and of its
    synthetic images, summed over classes (Zhao and Bilen 2023, equation 4); features are what the
    network gives before its last layer. As many classes as fit into the memory go through the
    network at once, and one that is too large in parts; where BatchNorm takes statistics of the
    batch, all real images and all synthetic ones, each in one pass.

    Args:
        network: its parameters need no gradient.
        real: gives the real images of some classes, class by class, normalised.
        sizes: how many real images each class has.
        synthetic: the synthetic images of every class.
        change: what both sets are changed by, a batch for each class from some class on, as
            `dclib.methods.siamese.Siamese`.
        decode: gives the images that networks see of synthetic ones, equally many of each.
    """
    shape = synthetic.shape[2:]
    whole = any(layer.training for layer in networks.batch_norms(network))
    activations = 0 if whole else memory.activation_bytes(network, shape)

    def in_pieces(some: Callable[[slice], Found], largest: int) -> list[Found]:
        if whole:
            return [some(slice(0, len(sizes)))]
        each = int(footprint.FIRST_ORDER * activations * largest)
        return memory.in_pieces(some, len(sizes), each, synthetic.device)

    def means(classes: slice, images: Tensor, own: Sequence[int]) -> Tensor:
        images = torch.cat(change(images.split(own), classes.start))
        parts = [images] if whole else images.split(memory.micro_batch(network, images))
        features = [_embed(network, part, len(parts) > 1) for part in parts]
        by_class = torch.cat(features).to(synthetic.dtype).split(own)
        return torch.stack([each.mean(0) for each in by_class])

    @torch.no_grad()
    def of_real(classes: slice) -> Tensor:
        return means(classes, real(classes), sizes[classes])

    target = torch.cat(in_pieces(of_real, max(sizes)))

    def of_synthetic(classes: slice) -> tuple[Tensor, Tensor]:
        own = synthetic[classes].detach().requires_grad_()
        seen = decode(own.flatten(0, 1))
        found = means(classes, seen, [len(seen) // len(own)] * len(own))
        loss = (found - target[classes]).square().sum()
        return loss.detach(), torch.autograd.grad(loss, own)[0]

    seen = len(decode(synthetic[0]))
    losses, gradients = zip(*in_pieces(of_synthetic, seen), strict=True)
    return torch.stack(losses).sum(), torch.cat(gradients)


def _embed(network: networks.Network, images: Tensor, again: bool) -> Tensor:
    """Return the features of images; `again`: what lies between is computed twice, not kept."""
    if not (again and images.requires_grad):
        return network.features(images)
    return checkpoint.checkpoint(
        network.features, images, use_reentrant=False, preserve_rng_state=False
    )


create = DistributionMatching
