"""Images of noise drift to the mean of random images of their class, part of the way in a step."""

import dataclasses
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.methods.drift.settings import Settings
from dclib.seeding import Streams

BATCH = 16  # real images of each class that a step looks at


@dataclasses.dataclass
class State:
    """The images, and the random streams that they come from."""

    random: Streams
    images: Float[Tensor, "n channels height width"]

    def state_dict(self) -> dict[str, Tensor]:
        return {"images": self.images}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        self.images.copy_(tensors["images"])


class Drift:
    """The method; `dclib.runner` calls `start`, then `step` as often as told, then `result`."""

    def __init__(
        self, settings: Settings, data: ImageDataset, ipc: int, device: torch.device
    ) -> None:
        self.settings, self.data, self.ipc, self.device = settings, data.to(device), ipc, device
        self.iterations = settings.iterations
        self.identity = [dataclasses.asdict(settings), data.fingerprint, ipc]

    def start(self, random: Streams) -> State:
        """Return images of noise."""
        data = self.data
        shape = (data.num_classes * self.ipc, data.channels, *data.image_size)
        noise = torch.randn(shape, generator=random["initialisation"])
        return State(random, noise.to(self.device))

    def step(self, state: State) -> dict[str, Tensor]:
        """Go a step towards the means; the loss is what is left of the way, squared."""
        chosen = self.data.sample(BATCH, state.random["real batches"])
        real = [self.data.normalise(self.data.train_images[i.to(self.device)]) for i in chosen]
        means = torch.stack([images.mean(0) for images in real]).repeat_interleave(self.ipc, 0)
        state.images.lerp_(means, min(1.0, self.settings.lr))
        return {"loss": (state.images - means).square().mean()}

    def result(self, state: State) -> SyntheticSet:
        """Return the images as they are now."""
        labels = class_labels(self.data.num_classes, self.ipc)
        return SyntheticSet.like(self.data, state.images.clone(), labels.to(self.device))


def create(
    network: str, settings: Settings, data: ImageDataset, ipc: int, device: torch.device
) -> Drift:
    """Return the method; it looks at no network."""
    return Drift(settings, data, ipc, device)
