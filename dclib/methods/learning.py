"""What methods share that learn images by gradient descent, on a fresh network each iteration."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dclib.data import tiles
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError
from dclib.fields import without
from dclib.methods import formation
from dclib.networks import names
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed


@dataclasses.dataclass
class State:
    """The images being learnt, their momentum, and the random streams they come from."""

    random: Streams
    images: Float[Tensor, "n channels height width"]
    momentum: Float[Tensor, "n channels height width"]
    labels: Int64[Tensor, " n"]
    steps: Any = None  # the parts of an iteration, made in the first one

    def state_dict(self) -> dict[str, Tensor]:
        return {"images": self.images, "momentum": self.momentum}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        self.images.copy_(tensors["images"])
        self.momentum.copy_(tensors["momentum"])


class Learning:
    """Images, as they begin and as they end. `dtype` is float32 but for tests of its arithmetic.

    Attributes:
        grows: the settings that say how many iterations there are; see `dclib.methods.Face`.
    """

    grows: tuple[str, ...] = ()

    def __init__(
        self,
        network: str,
        settings: Any,
        data: ImageDataset,
        ipc: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Prepare the learning of `ipc` images per class.

        Raises:
            InputError: images too small for the network or for `factor`, or a class of too few
                where real ones are to begin with.
        """
        names.parse(network).check(data.image_size)
        if fault := formation.fault(settings, names.parse(network), ipc, data.name, data.facts):
            raise InputError(fault)
        self.network, self.settings, self.ipc = network, settings, ipc
        self.device, self.dtype = device, dtype
        self.iterations = settings.iterations
        self.identity = [network, without(settings, self.grows), data.fingerprint, ipc]
        self.data = data.to(device)
        self.networks = networks.Fresh(self.fresh_network, device)

    def start(self, random: Streams) -> State:
        """Return the images to begin with, noise or real ones."""
        data, ipc = self.data, self.ipc
        if self.settings.initialisation == "real":
            factor = self.settings.factor
            indices = torch.cat(data.sample(ipc * factor**2, random["initialisation"]))
            images = data.normalise(data.train_images[indices.to(self.device)], self.dtype)
            images = tiles.encode(images, factor)
        else:
            shape = (data.num_classes * ipc, data.channels, *data.image_size)
            noise = torch.randn(shape, generator=random["initialisation"], dtype=self.dtype)
            images = noise.to(self.device)
        labels = class_labels(data.num_classes, ipc).to(self.device)
        return State(random, images, torch.zeros_like(images), labels)

    def fresh_network(self, seed: int) -> networks.Network:
        """Return a network with PyTorch's default initialisation, drawn on the CPU."""
        data = self.data
        with global_seed(seed, torch.device("cpu")):
            network = networks.build(self.network, data.channels, data.image_size, data.num_classes)
        return network.to(self.device, self.dtype)

    def result(self, state: State) -> SyntheticSet:
        """Return the images as they are now."""
        images, told = state.images.detach().clone(), tiles.parameters(self.settings.factor)
        return SyntheticSet.like(self.data, images, state.labels, parameters=told)

    def seen(
        self, images: Float[Tensor, "n channels height width"]
    ) -> Float[Tensor, "many channels height width"]:
        """Return stored images as networks see them."""
        grey = torch.full((self.data.channels, 1, 1), 0.5, dtype=self.dtype, device=self.device)
        return tiles.decode(images, self.settings.factor, self.data.normalised(grey))
