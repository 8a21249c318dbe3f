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
from torch.nn import functional

from dclib import devices, provenance, runner
from dclib.data.datasets import ImageDataset
from dclib.errors import InputError
from dclib.networks import plans as networks
from dclib.networks.plans import Network
from dclib.seeding import Streams, global_seed
from dclib.tensors import read_tensors, write_tensors
from dclib.training.ensembles import descend

log = logging.getLogger(__name__)

NEVER_LEARNT = torch.iinfo(torch.int64).max  # more than any number of forgetting events
_PREFIX = "network/"
_METADATA = (
    "dataset", "fingerprint", "network", "channels", "image_size", "num_classes", "settings",
    "train_accuracy", "test_accuracy", "seconds",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the network is trained.

    Attributes:
        epochs: passes over the training split.
        lr, momentum, weight_decay, batch: SGD; from half-way on the learning rate is a tenth, and
            the momentum starts anew.
    """

    epochs: int = 20
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256


@dataclasses.dataclass
class State:
    """The network being trained, its momentum, and what is known of every training image.

    Attributes:
        velocities: SGD's momentum, one tensor for each parameter.
        forgotten: how often an image was wrong after it had been right at the visit before.
        right: whether it was right at its last visit.
        learnt: whether it was ever right.
        done: epochs.
    """

    random: Streams
    network: Network
    velocities: list[Tensor]
    forgotten: Int64[Tensor, " train"]
    right: Bool[Tensor, " train"]
    learnt: Bool[Tensor, " train"]
    done: Int64[Tensor, ""]

    def state_dict(self) -> dict[str, Tensor]:
        return {
            **{_PREFIX + name: value for name, value in self.network.state_dict().items()},
            **{f"velocity/{i}": velocity for i, velocity in enumerate(self.velocities)},
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
        self.network, self.settings, self.device = network, settings, device
        networks.flat_width(network, data.channels, data.image_size)
        self.fingerprint = data.fingerprint
        self.data = data.to(device)

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
            [torch.zeros_like(parameter) for parameter in network.parameters()],
            forgotten,
            torch.zeros_like(forgotten, dtype=torch.bool),
            torch.zeros_like(forgotten, dtype=torch.bool),
            torch.zeros((), dtype=torch.int64),
        )

    def step(self, state: State) -> dict[str, Tensor]:
        """Train for one epoch; the loss is the mean over its batches, each before its update."""
        data, epoch, half = self.data, int(state.done) + 1, max(1, self.settings.epochs // 2)
        if epoch == half + 1:
            torch._foreach_zero_(state.velocities)
        lr = self.settings.lr if epoch <= half else 0.1 * self.settings.lr
        state.network.train()
        parameters: list[Tensor] = list(state.network.parameters())
        order = torch.randperm(len(data.train_labels), generator=state.random["order"])
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for batch in torch.split(order.to(self.device), self.settings.batch):
            labels = data.train_labels[batch]
            logits = state.network(data.normalise(data.train_images[batch]))
            loss = functional.cross_entropy(logits, labels)
            state.visit(batch, logits.argmax(1) == labels)
            descend(
                parameters,
                torch.autograd.grad(loss, parameters),
                state.velocities,
                lr=lr,
                momentum=self.settings.momentum,
                weight_decay=self.settings.weight_decay,
            )
            total += loss.detach() * len(batch)
        state.done += 1
        return {"loss": total / len(data.train_labels)}


class Reference(NamedTuple):
    """A trained network in evaluation mode, what its images' counts are, and what made it."""

    network: Network
    forgetting: Int64[Tensor, " train"]
    metadata: dict[str, Any]


def train(
    training: Training,
    random: Streams,
    path: str | Path,
    *,
    digest: str = "",
    checkpoint_seconds: float = 60.0,
    description: str = "",
) -> None:
    """Train the network and write it to `path`, with the forgetting counts of all training images.

    While it runs there is a checkpoint beside `path`, from which the same call goes on.

    Args:
        digest: what the result depends on besides the data, the network and the settings.

    Raises:
        Interrupted: a signal came; a checkpoint was left.
        InputError: the loss is not finite.
    """
    path = Path(path)
    checkpoint = path.with_suffix(".checkpoint.safetensors")
    settings = dataclasses.asdict(training.settings)
    state = training.start(random)
    progress = runner.iterate(
        training.step,
        state,
        training.settings.epochs,
        checkpoint=checkpoint,
        digest=provenance.digest(
            digest, training.network, settings, random.key, training.fingerprint
        ),
        checkpoint_seconds=checkpoint_seconds,
        description=description,
    )
    write(path, training, state, progress.seconds)
    checkpoint.unlink(missing_ok=True)


def write(path: str | Path, training: Training, state: State, seconds: float) -> None:
    """Write the network of `state` and its forgetting counts as safetensors, with its metadata."""
    data, device = training.data, training.device
    splits = (data.train_images, data.train_labels), (data.test_images, data.test_labels)
    train_accuracy, test_accuracy = (
        _accuracy(state.network, data, *split, device) for split in splits
    )
    metadata = {
        "dataset": data.name,
        "fingerprint": training.fingerprint,
        "network": training.network,
        "channels": data.channels,
        "image_size": data.image_size,
        "num_classes": data.num_classes,
        "settings": dataclasses.asdict(training.settings),
        "train_accuracy": train_accuracy,
        "test_accuracy": test_accuracy,
        "seconds": round(seconds, 3),
    }
    parameters = {_PREFIX + name: value for name, value in state.network.state_dict().items()}
    write_tensors(path, {**parameters, "forgetting": state.counts()}, metadata)
    log.info("reference network: test accuracy %.2f %%", test_accuracy)


def read(path: str | Path, device: torch.device) -> Reference:
    """Return what `write` wrote, the network on `device` and the counts on the CPU.

    Raises:
        InputError: the file is missing, truncated or not a reference network.
    """
    tensors, metadata = read_tensors(path)
    missing = {"forgetting"} - tensors.keys() or set(_METADATA) - metadata.keys()
    if missing:
        raise InputError(f"{path}: not a reference network, it has no {sorted(missing)[0]}")
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
    return Reference(network.to(device).eval(), tensors["forgetting"], metadata)


def features(
    network: Network,
    data: ImageDataset,
    images: UInt8[Tensor, "n channels height width"],
    device: torch.device,
) -> Float[Tensor, "n d"]:
    """Return the input of the network's last layer for images of `data`, on `device`.

    Args:
        network: on `device`; it is left in evaluation mode.
    """
    network.eval()
    return _in_batches(network.features, data, images, device)


def _accuracy(
    network: Network, data: ImageDataset, images: Tensor, labels: Tensor, device: torch.device
) -> float:
    """Return the accuracy in percent, in evaluation mode."""
    network.eval()
    predicted = _in_batches(network, data, images, device).argmax(1)
    return 100 * int((predicted == labels).sum()) / len(labels)


def _in_batches(
    module: nn.Module, data: ImageDataset, images: Tensor, device: torch.device
) -> Tensor:
    size = devices.MICRO_BATCH[device.type]
    with torch.no_grad():
        return torch.cat(
            [module(data.normalise(part.to(device))) for part in torch.split(images, size)]
        )
