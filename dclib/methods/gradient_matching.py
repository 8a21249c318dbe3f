"""Dataset condensation with gradient matching (Zhao, Mopuri, Bilen, ICLR 2021, Algorithm 1)."""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from dclib import matching, networks
from dclib.datasets import ImageDataset
from dclib.seeding import Streams, global_seed
from dclib.synthetic import SyntheticSet, class_labels

# Outer steps and inner epochs by images per class, as the authors chose them.
_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def loops(ipc: int) -> tuple[int, int]:
    """Return outer steps and inner epochs for `ipc` images per class.

    The authors define them for 1, 10, 20, 30, 40 and 50; for every other ipc the same law is
    followed: as many outer steps as images, and 500 inner epochs divided by them.
    """
    return _LOOPS.get(ipc, (ipc, max(1, round(500 / ipc))))


@dataclasses.dataclass(frozen=True)
class Settings:
    """Hyper-parameters; the defaults are the paper's for a ConvNet.

    Attributes:
        iterations: fresh networks, K in the paper.
        outer_steps: matching steps for each network, T; None follows from ipc.
        inner_epochs: epochs of training between two matching steps; None follows from ipc.
        real_batch: real images per class in a matching step.
        batchnorm_batch: real images per class from which BatchNorm's statistics are estimated.
        initialisation: `noise` (standard normal) or `real` (random training images).
        lr_img, momentum_img: SGD on the images.
        lr_net, batch_net: SGD on the network.
        distance: `ours`, `mse` or `cos`, see `dclib.matching.distance`.
    """

    iterations: int = 1000
    outer_steps: int | None = None
    inner_epochs: int | None = None
    real_batch: int = 256
    batchnorm_batch: int = 16
    initialisation: str = "noise"
    lr_img: float = 0.1
    momentum_img: float = 0.5
    lr_net: float = 0.01
    batch_net: int = 256
    distance: str = "ours"


@dataclasses.dataclass
class State:
    """The images being learnt, their momentum, and the data and random streams they come from."""

    data: ImageDataset
    ipc: int
    random: Streams
    images: Float[Tensor, "n channels height width"]
    momentum: Float[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]

    def state_dict(self) -> dict[str, Tensor]:
        return {"images": self.images, "momentum": self.momentum}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        self.images.copy_(tensors["images"])
        self.momentum.copy_(tensors["momentum"])


class GradientMatching:
    """The method `dc`. `dtype` is float32 but for tests of its arithmetic."""

    def __init__(
        self,
        network: str,
        settings: Settings,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.settings, self.device, self.dtype = network, settings, device, dtype
        self.iterations = settings.iterations

    def start(self, data: ImageDataset, ipc: int, random: Streams) -> State:
        """Return `ipc` images per class, noise or real ones.

        Raises:
            InputError: images too small for the network, or a class of fewer than `ipc` images.
        """
        networks.flat_width(self.network, data.channels, data.image_size)
        data.require(ipc)
        data = data.to(self.device)
        if self.settings.initialisation == "real":
            indices = torch.cat(data.sample(ipc, random["initialisation"]))
            images = data.normalise(data.train_images[indices.to(self.device)], self.dtype)
        else:
            shape = (data.num_classes * ipc, data.channels, *data.image_size)
            noise = torch.randn(shape, generator=random["initialisation"], dtype=self.dtype)
            images = noise.to(self.device)
        labels = class_labels(data.num_classes, ipc).to(self.device)
        return State(data, ipc, random, images, torch.zeros_like(images), labels)

    def step(self, state: State) -> dict[str, Tensor]:
        """Match the gradients of one freshly initialised network along its training."""
        settings, data = self.settings, state.data
        outer, inner = loops(state.ipc)
        outer, inner = settings.outer_steps or outer, settings.inner_epochs or inner
        with global_seed(state.random.seed("networks"), self.device):
            network = networks.build(
                self.network, data.channels, data.image_size, data.num_classes
            ).to(self.device, self.dtype)
        total = torch.zeros((), dtype=self.dtype, device=self.device)
        for outer_step in range(outer):
            self._set_batch_norms(network, state)
            real = self._sample(state, "real batches", settings.real_batch)
            by_class = state.images.view(data.num_classes, state.ipc, *state.images.shape[1:])
            loss, gradient = matching.match(network, real, by_class, settings.distance)
            state.momentum.mul_(settings.momentum_img).add_(gradient.view_as(state.images))
            state.images.sub_(state.momentum, alpha=settings.lr_img)
            total += loss
            if outer_step < outer - 1:
                self._train(network, state, inner)
        return {"loss": total / (outer * data.num_classes)}

    def result(self, state: State) -> SyntheticSet:
        """Return the images as they are now."""
        data = state.data
        metadata = {"mean": data.mean, "std": data.std, "class_names": data.class_names}
        return SyntheticSet(state.images.detach().clone(), state.labels, metadata)

    def _set_batch_norms(self, network: nn.Module, state: State) -> None:
        """Estimate the running statistics from real images, then hold them during matching."""
        layers = networks.batch_norms(network)
        if not layers:
            return
        network.train()
        with torch.no_grad():
            batch = self._sample(state, "batchnorm batches", self.settings.batchnorm_batch)
            network(torch.cat(batch))
        for layer in layers:
            layer.eval()

    def _sample(self, state: State, stream: str, size: int) -> list[Tensor]:
        """Return up to `size` random real images of every class, normalised."""
        chosen = state.data.sample(size, state.random[stream])
        images = state.data.train_images[torch.cat(chosen).to(self.device)]
        normalised = state.data.normalise(images, self.dtype)
        return list(normalised.split([len(indices) for indices in chosen]))

    def _train(self, network: nn.Module, state: State, epochs: int) -> None:
        """Train the network on the whole synthetic set."""
        network.train()
        parameters: list[Tensor] = list(network.parameters())
        for _ in range(epochs):
            order = torch.randperm(len(state.labels), generator=state.random["training order"])
            for batch in order.to(self.device).split(self.settings.batch_net):
                loss = functional.cross_entropy(network(state.images[batch]), state.labels[batch])
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    torch._foreach_add_(parameters, gradients, alpha=-self.settings.lr_net)


create = GradientMatching
