"""Training fresh networks on a set of images, and testing them on the whole test split."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from dclib import devices, files, networks, protocol, provenance, runner
from dclib.augmentation import augment
from dclib.datasets import ImageDataset
from dclib.errors import InputError
from dclib.seeding import Streams, global_seed
from dclib.synthetic import SyntheticSet

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How networks are trained on a set (Zhao et al. 2021, section 4.1, and their code).

    Attributes:
        models: networks, each from an initialisation of its own.
        epochs: passes over the set.
        lr, momentum, weight_decay, batch: SGD; from half-way on the learning rate is a tenth, and
            the momentum starts anew.
        augmentation: kinds of `dclib.augmentation`, one of which is drawn for every image.
        curve_points: at how many epochs, evenly spaced up to the last, a network is tested.
        protocol: `own`: a set that was learnt for steps and learning rates of its own (dd) is
            trained on with these and no other setting; `ordinary`: every set is trained on alike.
    """

    models: int = 20
    epochs: int = 300
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    augmentation: tuple[str, ...] = ()
    curve_points: int = 20
    protocol: str = "own"

    def test_epochs(self) -> list[int]:
        """Return the epochs after which a network is tested, at most `curve_points` of them."""
        points = min(self.curve_points, self.epochs)
        return [-(-self.epochs * (point + 1) // points) for point in range(points)]


@dataclasses.dataclass
class State:
    """The rows of the networks that are trained so far, and the random streams."""

    random: Streams
    rows: Tensor  # float64 [models, 4]: test accuracy, train accuracy, train loss, seconds
    curve: Tensor  # float64 [models, points]: test accuracy
    seeds: Tensor  # int64 [models]
    done: Tensor  # int64 scalar

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "rows": self.rows,
            "curve": self.curve,
            "seeds": self.seeds,
            "done": self.done,
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.state_dict().items():
            tensor.copy_(tensors[name])


class Evaluation:
    """Trains one network a step on `training`, a synthetic set or the whole training split."""

    def __init__(
        self,
        network: str,
        settings: Settings,
        data: ImageDataset,
        training: SyntheticSet | None,
        device: torch.device,
    ) -> None:
        self.network, self.settings, self.device = network, settings, device
        networks.flat_width(network, data.channels, data.image_size)
        if training is not None and training.images.shape[1:] != data.train_images.shape[1:]:
            raise InputError(
                f"the set has images of {tuple(training.images.shape[1:])}, data set '{data.name}' "
                f"of {tuple(data.train_images.shape[1:])} (channels, height, width)"
            )
        if training is not None and int(training.labels.max()) >= data.num_classes:
            raise InputError(
                f"the set has labels up to {int(training.labels.max())}, data set '{data.name}' "
                f"has {data.num_classes} classes"
            )
        trained_on = [] if training is None else [training.images, training.labels]
        if training is not None and training.learning_rates is not None:
            trained_on.append(training.learning_rates)
        self.fingerprint = [data.fingerprint, files.fingerprint(*trained_on)]
        self.data = data.to(device)
        if training is None:
            self.images, self.labels = self.data.train_images, self.data.train_labels
        else:
            self.images, self.labels = training.images.to(device), training.labels.to(device)
        self.rates = None
        if training is not None and settings.protocol == "own":
            self.rates = training.learning_rates
        if self.rates is not None:
            steps = len(self.labels) // data.num_classes
            self.settings = dataclasses.replace(
                settings, epochs=len(self.rates) // steps, curve_points=1
            )

    def start(self, random: Streams) -> State:
        """Return the state before the first network."""
        models, points = self.settings.models, len(self.settings.test_epochs())
        return State(
            random,
            torch.zeros(models, 4, dtype=torch.float64),
            torch.zeros(models, points, dtype=torch.float64),
            torch.zeros(models, dtype=torch.int64),
            torch.zeros((), dtype=torch.int64),
        )

    def step(self, state: State) -> dict[str, Tensor]:
        """Train and test the next network."""
        started = time.monotonic()
        model, data = int(state.done), self.data
        seed = state.random.seed("models")
        streams = Streams(seed)
        with global_seed(streams.seed("network"), self.device):
            network = networks.build(self.network, data.channels, data.image_size, data.num_classes)
            if self.rates is not None:
                protocol.initialise(network)
        network = network.to(self.device)
        curve: list[float] = []
        if self.rates is None:
            self._train(network, streams, lambda: curve.append(self._test(network)))
        else:
            images, labels = (
                protocol.by_step(tensor, data.num_classes) for tensor in (self.images, self.labels)
            )
            protocol.train(network, images, labels[0], self.rates)
            curve.append(self._test(network))
        accuracy, loss = self._measure(network, self.images, self.labels)
        if not math.isfinite(loss):
            raise InputError(
                f"the loss of model {model + 1} is {loss}: the learning rate is too large"
            )
        state.seeds[model] = seed
        state.curve[model] = torch.tensor(curve, dtype=torch.float64)
        state.rows[model] = torch.tensor(
            [curve[-1], accuracy, loss, time.monotonic() - started], dtype=torch.float64
        )
        state.done += 1
        log.info("model %d of %d: test accuracy %.2f %%", model + 1, len(state.seeds), curve[-1])
        return {}

    def tables(self, state: State) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return a row for each model, and one for each model and tested epoch."""
        models = range(len(state.seeds))
        rows = pd.DataFrame({"model": models, "seed": state.seeds.tolist()})
        for column, name in enumerate(("test_accuracy", "train_accuracy", "train_loss")):
            rows[name] = state.rows[:, column].numpy()
        rows["epochs"] = self.settings.epochs
        rows["seconds"] = state.rows[:, 3].numpy().round(3)
        curve = pd.DataFrame(
            [
                {"model": model, "epoch": epoch, "test_accuracy": float(state.curve[model, point])}
                for model in models
                for point, epoch in enumerate(self.settings.test_epochs())
            ]
        )
        return rows, curve

    def _train(self, network: nn.Module, streams: Streams, test: Callable[[], None]) -> None:
        settings = self.settings
        test_epochs = set(settings.test_epochs())
        lr = settings.lr
        for epoch in range(1, settings.epochs + 1):
            if epoch == 1 or epoch == settings.epochs // 2 + 1:
                optimizer = torch.optim.SGD(
                    network.parameters(),
                    lr=lr if epoch == 1 else 0.1 * lr,
                    momentum=settings.momentum,
                    weight_decay=settings.weight_decay,
                )
            network.train()
            order = torch.randperm(len(self.labels), generator=streams["order"])
            for batch in order.to(self.device).split(settings.batch):
                images = augment(
                    self._floats(self.images[batch]), settings.augmentation, streams["augmentation"]
                )
                optimizer.zero_grad()
                functional.cross_entropy(network(images), self.labels[batch]).backward()
                optimizer.step()
            if epoch in test_epochs:
                test()

    def _test(self, network: nn.Module) -> float:
        return self._measure(network, self.data.test_images, self.data.test_labels)[0]

    def _measure(self, network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
        """Return accuracy in percent and mean cross-entropy."""
        network.eval()
        correct = torch.zeros((), dtype=torch.float64, device=self.device)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        size = devices.MICRO_BATCH[self.device.type]
        with torch.no_grad():
            for batch, target in zip(images.split(size), labels.split(size), strict=True):
                logits = network(self._floats(batch))
                correct += (logits.argmax(1) == target).sum()
                loss += functional.cross_entropy(logits, target, reduction="sum")
        return 100 * float(correct) / len(labels), float(loss) / len(labels)

    def _floats(self, images: Tensor) -> Tensor:
        """Normalise images of the data set; those of a synthetic set are so already."""
        return self.data.normalise(images) if images.dtype == torch.uint8 else images


def evaluate(
    evaluation: Evaluation,
    random: Streams,
    rows: str | Path,
    curve: str | Path,
    *,
    digest: str = "",
    checkpoint_seconds: float = 60.0,
    description: str = "",
) -> None:
    """Train and test all networks and write their two tables as CSV.

    While it runs there is a checkpoint beside `rows`, with the networks that are done.

    Raises:
        Interrupted: a signal came; a checkpoint was left.
    """
    rows = Path(rows)
    checkpoint = rows.with_suffix(".checkpoint.safetensors")
    state = evaluation.start(random)
    runner.iterate(
        evaluation.step,
        state,
        evaluation.settings.models,
        checkpoint=checkpoint,
        digest=provenance.digest(
            digest, evaluation.fingerprint, evaluation.network, evaluation.settings, random.key
        ),
        checkpoint_seconds=checkpoint_seconds,
        description=description,
    )
    row_table, curve_table = evaluation.tables(state)
    files.write_text(curve, curve_table.to_csv(index=False))
    files.write_text(rows, row_table.to_csv(index=False))
    checkpoint.unlink(missing_ok=True)


def from_files(
    network: str,
    settings: Mapping[str, Any],
    data: str | Path,
    training: str | Path | None,
    device: torch.device,
) -> Evaluation:
    """Return an evaluation of the set in `training`, or of the whole training split if it is None.

    Raises:
        InputError: a file is missing or damaged, or the network, the set and the data do not fit.
    """
    return Evaluation(
        network,
        Settings(**{**settings, "augmentation": tuple(settings.get("augmentation", ()))}),
        ImageDataset.load(data),
        None if training is None else SyntheticSet.load(training),
        device,
    )
