"""The networks of `dclib.networks.names`, built for the images and classes of a data set."""

import functools
import logging
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dclib.networks import layers, names, norms, parts
from dclib.seeding import Streams

log = logging.getLogger(__name__)


class Network(nn.Module):
    """A classifier in two parts: `features`, all but the last layer, and `classifier`.

    The last layer computes in its weights' precision, whatever autocast says.

    Attributes:
        spec: what its name says of it.
    """

    def __init__(self, spec: names.Spec, features: nn.Sequential, classifier: nn.Linear) -> None:
        super().__init__()
        self.spec = spec
        self.features = features
        self.classifier = classifier

    def activation_bytes(self, shape: Sequence[int]) -> int:
        """Return what `dclib.memory.activation_bytes` wants to know of it."""
        channels, height, width = shape
        return self.spec.activation_bytes(channels, (height, width))

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits of normalised images."""
        features = self.features(images)
        with norms.as_stored(images):
            return self.classifier(features.to(self.classifier.weight.dtype))


def build(name: str, channels: int, image_size: parts.Size, num_classes: int) -> Network:
    """Return a network with PyTorch's default initialisation, drawn from the global generator.

    Args:
        name: see `dclib.networks.names`.
        channels: 1 or 3.
        image_size: height and width in pixels.
        num_classes: number of logits.

    Raises:
        InputError: an unknown name or option, or images that are too small for the network.
    """
    spec = names.parse(name)
    spec.check(image_size)
    _warn(name, image_size)
    *body, last = layers.sequence(
        (*spec.layers(image_size), parts.Linear(num_classes)), (channels, *image_size)
    )
    assert isinstance(last, nn.Linear)
    return Network(spec, nn.Sequential(*body), last)


class Fresh:
    """Fresh networks by seed, the next of them made while a GPU is still at work on the last."""

    def __init__(self, make: Callable[[int], Network], device: torch.device) -> None:
        self._make, self._ahead = make, device.type == "cuda"
        self._made: dict[int, Network] = {}

    def take(self, random: Streams) -> Network:
        """Return the network of the next seed of the stream `networks`."""
        seed = random.seed("networks")
        return self._made.pop(seed, None) or self._make(seed)

    def prepare(self, random: Streams) -> None:
        """Make the network that is going to be taken next."""
        if self._ahead:
            seed = random.next_seed("networks")
            self._made = {seed: self._make(seed)}


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the BatchNorm layers of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@functools.lru_cache(maxsize=256)
def _warn(name: str, image_size: parts.Size) -> None:
    """Say once that a network does not suit images of this size."""
    if caution := names.parse(name).caution(image_size):
        log.warning("network '%s' on %dx%d images: %s", name, *image_size, caution)
