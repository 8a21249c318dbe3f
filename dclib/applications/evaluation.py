"""Training fresh networks on a set of images, and testing them on the whole test split."""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional

from dclib import devices, files, graphs, memory, provenance, runner
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed
from dclib.tensors import fingerprint
from dclib.training import augmentation
from dclib.training.ensembles import Ensemble, descend
from dclib.training.recipes import unrolled as protocol

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How networks are trained on a set (Zhao et al. 2021, section 4.1, and their code).

    Attributes:
        models: networks, each from an initialisation of its own.
        epochs: passes over the set.
        lr, momentum, weight_decay, batch: SGD; from half-way on the learning rate is a tenth, and
            the momentum starts anew.
        precision: `fp32`, `tf32` or `bf16`, see `dclib.devices.precision`.
        augmentation: kinds of `dclib.training.augmentation`, one of which is drawn for every image.
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
    precision: str = "tf32"
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
    """Trains networks on `training`, a synthetic set, or on the whole training split if it is None.

    On a GPU all networks of a set are trained at once, as far as the memory allows. On a CPU, and
    on the whole training split, they are trained one after another, which is as fast there.

    Attributes:
        together: how many networks a step trains; between two steps a checkpoint can be left.
    """

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
        self.fingerprint = [data.fingerprint, fingerprint(*trained_on)]
        self.data = data.to(device)
        if training is None:
            self.images, self.labels = self.data.train_images, self.data.train_labels
        else:
            self.images, self.labels = training.images.to(device), training.labels.to(device)
        self.together = settings.models if self.device.type == "cuda" and training else 1
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

    @property
    def steps(self) -> int:
        """How many steps train all networks."""
        return -(-self.settings.models // self.together)

    def step(self, state: State) -> dict[str, Tensor]:
        """Train and test the next networks."""
        started = time.monotonic()
        first = int(state.done)
        last = min(first + self.together, self.settings.models)
        seeds = [state.random.seed("models") for _ in range(first, last)]
        shape, batch = self.images.shape[1:], min(self.settings.batch, len(self.labels))
        each = memory.training_bytes(self._fresh_network(Streams(0)), shape, batch)
        with devices.precision(self.device, self.settings.precision):
            for part, (rows, curve) in memory.in_pieces(
                lambda part: (part, self._train_and_test(seeds[part])),
                len(seeds),
                each,
                self.device,
            ):
                state.rows[first:last][part, :3] = rows
                state.curve[first:last][part] = curve
        losses = state.rows[first:last, 2]
        if not losses.isfinite().all():
            model = int(losses.isfinite().logical_not().nonzero()[0])
            raise InputError(
                f"the loss of model {first + model + 1} is {float(losses[model])}: the learning "
                "rate is too large"
            )
        state.seeds[first:last] = torch.tensor(seeds)
        state.rows[first:last, 3] = (time.monotonic() - started) / len(seeds)
        state.done += len(seeds)
        for model in range(first, last):
            log.info(
                "model %d of %d: test accuracy %.2f %%",
                model + 1,
                self.settings.models,
                state.rows[model, 0],
            )
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

    def _fresh_network(self, streams: Streams) -> nn.Module:
        """Return an initialised network, drawn on the CPU."""
        data = self.data
        with global_seed(streams.seed("network"), torch.device("cpu")):
            network = networks.build(self.network, data.channels, data.image_size, data.num_classes)
            if self.rates is not None:
                protocol.initialise(network)
        return network.to(self.device)

    def _train_and_test(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a row for each network, test and training accuracy and loss, and the curves."""
        streams = [Streams(seed) for seed in seeds]
        fresh = [self._fresh_network(own) for own in streams]
        curve: list[Tensor] = []
        if self.rates is None:
            ensemble = Ensemble(fresh)
            self._train(ensemble, streams, lambda: curve.append(self._test(ensemble)))
        else:
            images, labels = (
                protocol.by_step(tensor, self.data.num_classes)
                for tensor in (self.images, self.labels)
            )
            for network in fresh:
                protocol.train(network, images, labels[0], self.rates)
            ensemble = Ensemble(fresh)
            curve.append(self._test(ensemble))
        accuracy, loss = self._measure(ensemble, self.images, self.labels)
        return torch.stack((curve[-1], accuracy, loss), dim=1), torch.stack(curve, dim=1)

    def _train(
        self, ensemble: Ensemble, streams: Sequence[Streams], test: Callable[[], None]
    ) -> None:
        settings = self.settings
        test_epochs = set(settings.test_epochs())
        velocities = [torch.zeros_like(parameter) for parameter in ensemble.parameters]
        steps: dict[int, _Step] = {}
        for epoch in range(1, settings.epochs + 1):
            if epoch == 1 or epoch == settings.epochs // 2 + 1:
                lr = settings.lr if epoch == 1 else 0.1 * settings.lr
                torch._foreach_zero_(velocities)
                steps = {}
            ensemble.train()
            orders = [torch.randperm(len(self.labels), generator=s["order"]) for s in streams]
            for batch in torch.stack(orders).split(settings.batch, dim=1):
                size = batch.shape[1]
                if size not in steps:
                    steps[size] = _Step(self, ensemble, velocities, lr)
                steps[size](batch, [own["augmentation"] for own in streams])
            if epoch in test_epochs:
                test()

    def _test(self, ensemble: Ensemble) -> Tensor:
        return self._measure(ensemble, self.data.test_images, self.data.test_labels)[0]

    def _measure(
        self, ensemble: Ensemble, images: Tensor, labels: Tensor
    ) -> tuple[Float[Tensor, " models"], Float[Tensor, " models"]]:
        """Return accuracy in percent and mean cross-entropy of every network, on the CPU."""
        ensemble.train(False)
        correct, loss = torch.zeros(2, ensemble.size, dtype=torch.float64, device=self.device)
        size = max(1, devices.MICRO_BATCH[self.device.type] // ensemble.size)
        with torch.no_grad():
            for batch, target in zip(images.split(size), labels.split(size), strict=True):
                logits = ensemble(self.floats(batch))
                correct += (logits.argmax(2) == target).sum(1)
                losses = functional.cross_entropy(
                    logits.flatten(0, 1), target.repeat(ensemble.size), reduction="none"
                )
                loss += losses.view(ensemble.size, -1).sum(1)
        return 100 * correct.cpu() / len(labels), loss.cpu() / len(labels)

    def floats(
        self, images: Shaped[Tensor, "*models batch channels height width"]
    ) -> Float[Tensor, "*models batch channels height width"]:
        """Normalise images of the data set; those of a synthetic set are so already."""
        if images.dtype != torch.uint8:
            return images
        return self.data.normalise(images.flatten(0, -4)).view(images.shape)


class _Step:
    """A step of training, on buffers that stay where they are in memory."""

    def __init__(
        self, evaluation: Evaluation, ensemble: Ensemble, velocities: list[Tensor], lr: float
    ) -> None:
        self.evaluation, self.ensemble = evaluation, ensemble
        self.velocities, self.lr = velocities, lr
        self._inputs: dict[str, Tensor] = {}
        self._repeated = graphs.Repeated(self._once, evaluation.device)

    def __call__(self, batch: Tensor, random: Sequence[torch.Generator]) -> None:
        """Train on the images of these indices, a row for each network."""
        evaluation = self.evaluation
        inputs = {"batch": batch}
        if kinds := evaluation.settings.augmentation:
            shape = (batch.shape[1], *evaluation.images.shape[1:])
            drawn = [augmentation.draw(shape, kinds, generator) for generator in random]
            inputs |= {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
        for name, value in inputs.items():
            if name not in self._inputs:
                self._inputs[name] = value.to(evaluation.device)
            self._inputs[name].copy_(value, non_blocking=True)
        self._repeated()

    def _once(self) -> None:
        evaluation, settings = self.evaluation, self.evaluation.settings
        inputs = dict(self._inputs)
        batch = inputs.pop("batch")
        images, labels = evaluation.floats(evaluation.images[batch]), evaluation.labels[batch]
        if inputs:
            images = augmentation.transform(images, **inputs)
        losses = functional.cross_entropy(
            self.ensemble(images).flatten(0, 1), labels.flatten(), reduction="none"
        )
        loss = losses.view(labels.shape).mean(1).sum()
        descend(
            self.ensemble.parameters,
            torch.autograd.grad(loss, self.ensemble.parameters),
            self.velocities,
            lr=self.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )


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
        evaluation.steps,
        checkpoint=checkpoint,
        digest=provenance.digest(
            digest,
            evaluation.fingerprint,
            evaluation.network,
            evaluation.settings,
            evaluation.together,
            random.key,
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
