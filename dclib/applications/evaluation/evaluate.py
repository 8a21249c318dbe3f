"""Training fresh networks on a set of images, and testing them on the whole test split.

Where images are held out of the training split, networks are tested on these as well.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dclib import devices, footprint, graphs, memory
from dclib.applications.evaluation.settings import GROWS, ORDINARY, Settings, recipe_of
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError
from dclib.fields import without
from dclib.networks import names
from dclib.networks import plans as networks
from dclib.networks.plans import Network
from dclib.seeding import Streams, global_seed
from dclib.tensors import fingerprint
from dclib.training import ensembles, recipes
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples

log = logging.getLogger(__name__)


class Results(NamedTuple):
    """What networks trained on a set are worth.

    Attributes:
        rows: one for each model: seed, accuracies in percent, loss, epochs and seconds.
        curve: one for each model and epoch at which it was tested.
    """

    rows: pd.DataFrame
    curve: pd.DataFrame

    def __str__(self) -> str:
        """Return mean and standard deviation of the test accuracy, and how many models there are.

        The deviation is over n, as in the tables.
        """
        accuracy = self.rows["test_accuracy"]
        return f"{accuracy.mean():.2f} ± {accuracy.std(ddof=0):.2f} % (n = {len(accuracy)})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return f"<p>test accuracy {self}</p>{self.rows.to_html(index=False)}"


@dataclasses.dataclass
class State:
    """The rows of the networks that are trained so far, and the random streams."""

    random: Streams
    rows: Tensor  # float64 [models, columns]: those of `Evaluation.columns`
    curve: Tensor  # float64 [models, points]: test accuracy
    seeds: Tensor  # int64 [models]
    done: Tensor  # int64 scalar: may be more than are asked for

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "rows": self.rows,
            "curve": self.curve,
            "seeds": self.seeds,
            "done": self.done,
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the rows of networks that are trained, however many are asked for now."""
        done = int(tensors["done"])
        for name in ("rows", "curve", "seeds"):
            known, empty = tensors[name][:done], getattr(self, name)
            setattr(self, name, torch.cat((known, empty[done:])))
        self.done.fill_(done)


class Evaluation:
    """Trains networks on `training`, a synthetic set, or on the whole training split if it is None.

    On a GPU networks of few images a step are trained side by side, as far as the memory allows,
    others one after another (`ensembles.together`). They are tested one after another everywhere.

    Attributes:
        columns: what is known of each network at the end: accuracies in percent, loss, seconds.
        together: how many networks a step trains; between two steps a checkpoint can be left.
    """

    def __init__(
        self,
        network: str,
        settings: Settings,
        data: ImageDataset,
        training: SyntheticSet | None,
        device: torch.device,
        whiten: Callable[[Tensor], Tensor] | None = None,
        teacher: nn.Module | None = None,
    ) -> None:
        """Prepare the networks' training.

        Args:
            whiten: what makes whitened images of pixels, as `Whitening.apply` does; for settings
                with space `whitened`.
            teacher: what makes logits of normalised images; for settings with labels `teacher`.

        Raises:
            InputError: the set, the network and the data do not fit together, or `whiten` or
                `teacher` is missing.
        """
        names.parse(network).check(data.image_size)
        self.network, self.settings, self.device = network, settings, device
        self._trained_on = [data.fingerprint, training and training.fingerprint]
        self._teacher = teacher if settings.labels == "teacher" else None
        if self._teacher is None and settings.labels == "teacher":
            raise InputError("labels 'teacher': there is no teacher")
        self.data = data.to(device)
        recipe, parameters = ORDINARY, dict[str, Tensor]()
        images, labels = self.data.train_images, self.data.train_labels
        if training is not None:
            fitted = training.fitted(data)
            images, labels = fitted.images.to(device), fitted.labels.to(device)
            recipe = recipe_of(settings, training.recipe)
            if recipe == training.recipe:
                parameters = dict(fitted.parameters)
        tested, held = self.data.test_images, self.data.validation_images
        if settings.space == "whitened":
            if whiten is None:
                raise InputError("space 'whitened': there is no whitening")
            images = whiten(images if training is None else self.data.pixels(images))
            tested = whiten(tested)
            held = held if held is None else whiten(held)
        if settings.labels == "hard" and labels.is_floating_point():
            labels = labels.argmax(1)
        self.tested = Examples(tested, self.data.test_labels, self.data)
        self.examples = Examples(images, labels, self.data)
        self.columns = ["test_accuracy", "train_accuracy", "train_loss", "seconds"]
        self.held_out: Examples | None = None
        if held is not None and self.data.validation_labels is not None:
            self.held_out = Examples(held, self.data.validation_labels, self.data)
            self.columns.insert(1, "validation_accuracy")
        self.recipe = recipes.create(recipe, self.examples, settings, parameters, self._teacher)
        self.together = ensembles.together(settings.models, self.recipe.batch, device)
        self._passes: dict[int, tuple[nn.Module, _Pass]] = {}
        self._size = 0  # how many networks were trained side by side at last

    @property
    def iterations(self) -> int:
        """How many networks there are; a step trains some of them together."""
        return self.settings.models

    @property
    def identity(self) -> list[object]:
        """What a checkpoint has to fit: all but the number of networks."""
        told: list[object] = [self.network, without(self.settings, GROWS), *self._trained_on]
        if self._teacher is not None:
            told.append(fingerprint(*self._teacher.state_dict().values()))
        return told

    def start(self, random: Streams) -> State:
        """Return the state before the first network."""
        models, points = self.settings.models, len(self.recipe.test_epochs)
        return State(
            random,
            torch.zeros(models, len(self.columns), dtype=torch.float64),
            torch.zeros(models, points, dtype=torch.float64),
            torch.zeros(models, dtype=torch.int64),
            torch.zeros((), dtype=torch.int64),
        )

    def step(self, state: State) -> dict[str, Tensor]:
        """Train and test the next networks, if there are any left."""
        started = time.monotonic()
        first = int(state.done)
        last = max(first, min(first + self.together, self.settings.models))
        if first == last:
            return {"steps": torch.tensor(0)}
        seeds = [state.random.seed("models") for _ in range(first, last)]
        shape = self.examples.images.shape[1:]
        each = memory.training_bytes(self._fresh_network(Streams(0)), shape, self.recipe.batch)
        with devices.precision(self.device, self.settings.precision):
            for part, (rows, curve) in memory.in_pieces(
                lambda part: (part, self._train_and_test(seeds[part])),
                len(seeds),
                each,
                self.device,
            ):
                state.rows[first:last][part, :-1] = rows
                state.curve[first:last][part] = curve
        losses = state.rows[first:last, -2]
        if not losses.isfinite().all():
            model = int(losses.isfinite().logical_not().nonzero()[0])
            raise InputError(
                f"the loss of model {first + model + 1} is {float(losses[model])}: the learning "
                "rate is too large"
            )
        state.seeds[first:last] = torch.tensor(seeds)
        state.rows[first:last, -1] = (time.monotonic() - started) / len(seeds)
        state.done += len(seeds)
        for model in range(first, last):
            log.info(
                "model %d of %d: test accuracy %.2f %%",
                model + 1,
                self.settings.models,
                state.rows[model, 0],
            )
        return {"steps": torch.tensor(len(seeds))}

    def result(self, state: State) -> Results:
        """Return a row for each model, and one for each model and tested epoch."""
        models = range(self.settings.models)
        numbers, seeds = state.rows[: len(models)], state.seeds[: len(models)]
        rows = pd.DataFrame({"model": models, "seed": seeds.tolist()})
        for column, name in enumerate(self.columns[:-1]):
            rows[name] = numbers[:, column].numpy()
        rows["epochs"] = self.recipe.epochs
        rows["seconds"] = numbers[:, -1].numpy().round(3)
        curve = pd.DataFrame(
            [
                {"model": model, "epoch": epoch, "test_accuracy": float(state.curve[model, point])}
                for model in models
                for point, epoch in enumerate(self.recipe.test_epochs)
            ]
        )
        return Results(rows, curve)

    def _fresh_network(self, streams: Streams) -> Network:
        """Return an initialised network, drawn on the CPU."""
        data = self.data
        with global_seed(streams.seed("network"), torch.device("cpu")):
            network = networks.build(self.network, data.channels, data.image_size, data.num_classes)
            self.recipe.initialise(network)
        return network.to(self.device)

    def _train_and_test(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return a row for each network, its `columns` but for the seconds, and the curves."""
        if len(seeds) != self._size:  # what tests of others hold on a GPU is wanted now
            self._passes.clear()
            self._size = len(seeds)
        streams = [Streams(seed) for seed in seeds]
        fresh = [self._fresh_network(own) for own in streams]
        curve: list[Tensor] = []

        def test(ensemble: Ensemble) -> None:
            curve.append(self._measure(ensemble, self.tested)[0])

        ensemble = self.recipe.train(fresh, streams, test)
        columns = [curve[-1]]
        if self.held_out is not None:
            columns.append(self._measure(ensemble, self.held_out)[0])
        columns += self._measure(ensemble, self.examples)
        return torch.stack(columns, dim=1), torch.stack(curve, dim=1)

    def _measure(
        self, ensemble: Ensemble, examples: Examples
    ) -> tuple[Float[Tensor, " models"], Float[Tensor, " models"]]:
        """Return accuracy in percent and mean cross-entropy of every network, on the CPU."""
        ensemble.train(False)
        sums = []
        for network in ensemble.each():
            held, known = self._passes.get(id(examples), (None, None))
            if known is None or held is not network:
                known = _Pass(network, examples)
                self._passes[id(examples)] = network, known
            known()
            sums.append(known.sums.clone())
        correct, loss = torch.stack(sums, dim=1).cpu()
        return 100 * correct / len(examples), loss / len(examples)


class _Pass:
    """A pass of all examples through a network, which stays where it is in memory.

    Attributes:
        sums: how many were right at the last call, and the sum of their cross-entropies.
    """

    sums: Float[Tensor, "2"]

    def __init__(self, network: nn.Module, examples: Examples) -> None:
        self._network, self._examples = network, examples
        device = examples.labels.device
        self.sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._repeated = graphs.Repeated(self._once, device)

    def __call__(self) -> None:
        with torch.no_grad():
            self._repeated()

    def _once(self) -> None:
        self.sums.zero_()
        size = footprint.MICRO_BATCH[self.sums.device.type]
        for begin in range(0, len(self._examples), size):
            part = slice(begin, begin + size)
            target = self._examples.labels[part]
            logits = self._network(self._examples.normalised(part))
            likeliest = target.argmax(1) if target.is_floating_point() else target
            losses = functional.cross_entropy(logits, target, reduction="none")
            self.sums += torch.stack(((logits.argmax(1) == likeliest).sum(), losses.sum()))
