"""One network trained on the whole training split, which the selections of real images look at.

It gives them the features of every image, and how often each was forgotten during training (Toneva
et al., An Empirical Study of Example Forgetting during Deep Neural Network Learning, ICLR 2019).
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from dclib import footprint
from dclib.data.datasets import ImageDataset
from dclib.errors import InputError
from dclib.networks import names
from dclib.networks import plans as networks
from dclib.networks.plans import Network
from dclib.seeding import Streams, global_seed
from dclib.teachers.reference.settings import Settings
from dclib.tensors import read_tensors, unsealed, write_sealed
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples
from dclib.training.sgd import SGD

log = logging.getLogger(__name__)

NEVER_LEARNT = torch.iinfo(torch.int64).max  # more than any number of forgetting events
_PREFIX = "network/"
_METADATA = (
    "dataset", "data_fingerprint", "network", "channels", "image_size", "num_classes", "settings",
    "train_accuracy", "test_accuracy",
)  # fmt: skip


class Reference(NamedTuple):
    """A trained network in evaluation mode, what its images' counts are, and what made it."""

    network: Network
    forgetting: Int64[Tensor, " train"]
    metadata: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write it as safetensors, with its metadata as JSON in the header."""
        parameters = {_PREFIX + name: value for name, value in self.network.state_dict().items()}
        write_sealed(path, {**parameters, "forgetting": self.forgetting}, self.metadata)

    @classmethod
    def load(cls, path: str | Path, device: torch.device) -> "Reference":
        """Return what `save` wrote, the network on `device` and the counts on the CPU.

        Raises:
            Damaged: its content is not that of which the fingerprint was taken.
            InputError: the file is missing, truncated or not a reference network.
        """
        tensors, metadata = read_tensors(path)
        missing = {"forgetting"} - tensors.keys() or set(_METADATA) - metadata.keys()
        if missing:
            raise InputError(f"{path}: not a reference network, it has no {sorted(missing)[0]}")
        metadata = unsealed(path, tensors, metadata)
        state = {
            key.removeprefix(_PREFIX): value
            for key, value in tensors.items()
            if key.startswith(_PREFIX)
        }
        name = metadata["network"]
        try:
            height, width = metadata["image_size"]
            with global_seed(0, torch.device("cpu")):
                network = networks.build(
                    name, metadata["channels"], (height, width), metadata["num_classes"]
                )
            network.load_state_dict(state)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except Exception as error:  # of metadata that describe no network, or another one
            raise InputError(f"{path}: its tensors are not those of network '{name}'") from error
        if tensors["forgetting"].dtype != torch.int64 or tensors["forgetting"].ndim != 1:
            raise InputError(f"{path}: its forgetting counts are not int64 of one dimension")
        return cls(network.to(device).eval(), tensors["forgetting"], metadata)

    def features(
        self,
        data: ImageDataset,
        images: UInt8[Tensor, "n channels height width"],
        device: torch.device,
    ) -> Float[Tensor, "n d"]:
        """Return the input of the network's last layer for images of `data`, on `device`."""
        return _in_batches(self.network.features, data, images, device)


@dataclasses.dataclass
class State:
    """The network being trained, its momentum, and what is known of every training image.

    Attributes:
        forgotten: how often an image was wrong after it had been right at the visit before.
        right: whether it was right at its last visit.
        learnt: whether it was ever right.
        done: epochs.
    """

    random: Streams
    network: Network
    sgd: SGD
    forgotten: Int64[Tensor, " train"]
    right: Bool[Tensor, " train"]
    learnt: Bool[Tensor, " train"]
    done: Int64[Tensor, ""]

    def state_dict(self) -> dict[str, Tensor]:
        return {
            **{_PREFIX + name: value for name, value in self.network.state_dict().items()},
            **{f"velocity/{i}": velocity for i, velocity in enumerate(self.sgd.velocities)},
            "forgotten": self.forgotten,
            "right": self.right,
            "learnt": self.learnt,
            "done": self.done,
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state_dict().items():
            tensor.copy_(tensors[name])

    def visit(self, batch: Int64[Tensor, " batch"], right: Bool[Tensor, " batch"]) -> None:
        """Note which of the images with indices `batch`, all different, are right at this visit."""
        self.forgotten[batch] += (self.right[batch] & ~right).long()
        self.right[batch] = right
        self.learnt[batch] |= right

    def counts(self) -> Int64[Tensor, " train"]:
        """Return the forgetting events of every image, NEVER_LEARNT where it never was right."""
        return self.forgotten.masked_fill(~self.learnt, NEVER_LEARNT)


class Training:
    """Trains a network on the training split of `data`, one epoch a step."""

    def __init__(
        self, network: str, settings: Settings, data: ImageDataset, device: torch.device
    ) -> None:
        names.parse(network).check(data.image_size)
        self.network, self.settings, self.device = network, settings, device
        self.iterations = settings.epochs
        self.data_fingerprint = data.fingerprint
        self.identity = [network, dataclasses.asdict(settings), data.fingerprint]
        self.data = data.to(device)
        self.examples = Examples(self.data.train_images, self.data.train_labels, self.data)

    def start(self, random: Streams) -> State:
        """Return the state before the first epoch."""
        data = self.data
        with global_seed(random.seed("network"), self.device):
            network = networks.build(
                self.network, data.channels, data.image_size, data.num_classes
            ).to(self.device)
        forgotten = torch.zeros_like(data.train_labels)
        return State(
            random,
            network,
            SGD(Ensemble([network]), self.examples, self.settings),
            forgotten,
            torch.zeros_like(forgotten, dtype=torch.bool),
            torch.zeros_like(forgotten, dtype=torch.bool),
            torch.zeros((), dtype=torch.int64),
        )

    def step(self, state: State) -> dict[str, Tensor]:
        """Train for one epoch; the loss is the mean over its batches, each before its update."""
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for step in state.sgd.epoch(int(state.done) + 1, [state.random]):
            batch = step.batch[0]
            state.visit(batch, step.logits[0].argmax(1) == self.data.train_labels[batch])
            total += step.losses.sum()
        state.done += 1
        return {"loss": total / len(self.examples)}

    def result(self, state: State) -> Reference:
        """Return the network as it is now, in evaluation mode, with its accuracies."""
        data, network = self.data, state.network.eval()
        metadata = {
            "dataset": data.name,
            "data_fingerprint": self.data_fingerprint,
            "network": self.network,
            "channels": data.channels,
            "image_size": data.image_size,
            "num_classes": data.num_classes,
            "settings": dataclasses.asdict(self.settings),
        }
        for split in ("train", "test"):
            images, labels = (getattr(data, f"{split}_{what}") for what in ("images", "labels"))
            right = _in_batches(network, data, images, self.device).argmax(1) == labels
            metadata[f"{split}_accuracy"] = 100 * int(right.sum()) / len(labels)
        log.info("reference network: test accuracy %.2f %%", metadata["test_accuracy"])
        return Reference(network, state.counts(), metadata)


def _in_batches(
    module: nn.Module, data: ImageDataset, images: Tensor, device: torch.device
) -> Tensor:
    size = footprint.MICRO_BATCH[device.type]
    with torch.no_grad():
        return torch.cat(
            [module(data.normalise(part.to(device))) for part in torch.split(images, size)]
        )
