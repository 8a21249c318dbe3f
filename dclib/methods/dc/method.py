"""Dataset condensation with gradient matching (Zhao, Mopuri, Bilen, ICLR 2021, Algorithm 1)."""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from dclib import devices, graphs
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.methods import matching
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed

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
        distance: `ours`, `mse` or `cos`, see `dclib.methods.matching.distance`.
        precision: `fp32`, `tf32` or `bf16`, see `dclib.devices.precision`.
        engine: what computes the matching, see `dclib.methods.matching.match`.
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
    precision: str = "tf32"
    engine: str = "auto"


@dataclasses.dataclass
class State:
    """The images being learnt, their momentum, and the data and random streams they come from."""

    data: ImageDataset
    ipc: int
    random: Streams
    images: Float[Tensor, "n channels height width"]
    momentum: Float[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]
    steps: "_Steps | None" = None  # made in the first iteration

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
        settings = self.settings
        outer, inner = loops(state.ipc)
        outer, inner = settings.outer_steps or outer, settings.inner_epochs or inner
        steps = state.steps = state.steps or _Steps(self, state)
        steps.restart(self.fresh_network(state.data, state.random.seed("networks")))
        with devices.precision(self.device, settings.precision):
            for outer_step in range(outer):
                steps.set_batch_norms()
                steps.match()
                if outer_step < outer - 1:
                    steps.train(inner)
        return {"loss": steps.loss / (outer * state.data.num_classes)}

    def fresh_network(self, data: ImageDataset, seed: int) -> networks.Network:
        """Return a network with PyTorch's default initialisation, drawn on the CPU."""
        with global_seed(seed, torch.device("cpu")):
            network = networks.build(self.network, data.channels, data.image_size, data.num_classes)
        return network.to(self.device, self.dtype)

    def result(self, state: State) -> SyntheticSet:
        """Return the images as they are now."""
        data = state.data
        metadata = {"mean": data.mean, "std": data.std, "class_names": data.class_names}
        return SyntheticSet(state.images.detach().clone(), state.labels, metadata)


class _Steps:
    """The parts of an iteration, on a network and buffers that stay where they are in memory.

    Random numbers are drawn on the CPU, ahead of the device, so that all devices get the same.
    """

    def __init__(self, method: GradientMatching, state: State) -> None:
        self.settings, self.state = method.settings, state
        self.device, self.dtype = method.device, method.dtype
        self.network = method.fresh_network(state.data, 0)
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.loss = torch.zeros((), dtype=self.dtype, device=self.device)
        self._real: dict[str, tuple[Tensor, list[int]]] = {}  # indices, and how many of each class
        self._match = graphs.Repeated(self._match_once, self.device)
        self._batches: dict[int, tuple[Tensor, graphs.Repeated]] = {}

    def restart(self, fresh: nn.Module) -> None:
        """Begin anew with the parameters of `fresh`."""
        self.network.load_state_dict(fresh.state_dict())
        self.loss.zero_()

    def set_batch_norms(self) -> None:
        """Estimate the running statistics from real images, then hold them during matching."""
        layers = networks.batch_norms(self.network)
        if not layers:
            return
        self.network.train()
        with torch.no_grad():
            self._draw("batchnorm batches", self.settings.batchnorm_batch)
            self.network(torch.cat(self._images("batchnorm batches")))
        for layer in layers:
            layer.eval()

    def match(self) -> None:
        """Draw real images and update the synthetic ones; the loss is added to `loss`."""
        self._draw("real batches", self.settings.real_batch)
        self._match()

    def train(self, epochs: int) -> None:
        """Train the network on the whole synthetic set."""
        self.network.train()
        random, count = self.state.random["training order"], len(self.state.labels)
        orders = torch.stack([torch.randperm(count, generator=random) for _ in range(epochs)])
        for order in orders.to(self.device, non_blocking=True):
            for batch in order.split(self.settings.batch_net):
                self._train_on(batch)

    def _match_once(self) -> None:
        state, settings = self.state, self.settings
        real = self._images("real batches")
        by_class = state.images.view(len(real), state.ipc, *state.images.shape[1:])
        loss, gradient = matching.match(
            self.network, real, by_class, settings.distance, settings.engine
        )
        state.momentum.mul_(settings.momentum_img).add_(gradient.view_as(state.images))
        state.images.sub_(state.momentum, alpha=settings.lr_img)
        self.loss += loss

    def _draw(self, stream: str, size: int) -> None:
        """Choose up to `size` random real images of every class."""
        chosen = self.state.data.sample(size, self.state.random[stream])
        indices = torch.cat(chosen)
        if stream not in self._real:
            self._real[stream] = indices.to(self.device), [len(part) for part in chosen]
        self._real[stream][0].copy_(indices, non_blocking=True)

    def _images(self, stream: str) -> list[Tensor]:
        """Return the real images that were drawn, class by class, normalised."""
        indices, sizes = self._real[stream]
        data = self.state.data
        return list(data.normalise(data.train_images[indices], self.dtype).split(sizes))

    def _train_on(self, batch: Tensor) -> None:
        """Do one step of gradient descent on the synthetic images of these indices."""
        if len(batch) not in self._batches:
            buffer = batch.clone()

            def descend() -> None:
                images, labels = self.state.images[buffer], self.state.labels[buffer]
                loss = functional.cross_entropy(self.network(images), labels)
                gradients = torch.autograd.grad(loss, self.parameters)
                with torch.no_grad():
                    torch._foreach_add_(self.parameters, gradients, alpha=-self.settings.lr_net)

            self._batches[len(batch)] = buffer, graphs.Repeated(descend, self.device)
        buffer, step = self._batches[len(batch)]
        buffer.copy_(batch)
        step()


create = GradientMatching
