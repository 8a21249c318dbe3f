"""From a configuration to the cells of the grid and the settings of each of them.

It takes a mapping that somebody else has read, and needs no PyTorch, so that it costs a pipeline
nothing to ask it.
"""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dclib import configuration
from dclib.errors import InputError, did_you_mean

# Methods that choose real images; all but `random` look at a network that was trained on them all.
SELECTIONS = ("random", "herding", "kcenter", "forgetting")
# Methods that learn a set, and the modules of dclib.methods that do it.
ITERATIVE = {"dc": "gradient_matching", "dd": "dataset_distillation"}
WHOLE = "whole"
# Methods whose set does not depend on the seed: only the first seed has a cell.
SEEDLESS = ("herding", "kcenter", "forgetting", WHOLE)

# Training images of the smallest class of the public data sets.
_SMALLEST_CLASS = {
    "MNIST": 5421,
    "FashionMNIST": 6000,
    "SVHN": 4659,
    "CIFAR10": 5000,
    "digits": 140,
}
# What 'the same network' means in evaluation: a set is too small to estimate BatchNorm's
# statistics, so that a VGG or ResNet with BatchNorm is replaced by its instance-norm twin.
_TWINS = {"VGG11BN": "VGG11", "ResNet18BN": "ResNet18", "ResNet18BN_AP": "ResNet18"}
_OVERRIDES = {
    "per_dataset": "dataset",
    "per_method": "method",
    "per_network": "network",
    "per_ipc": "ipc",
}


class Cell(NamedTuple):
    """One point of the grid; `ipc` is a number of images per class, or `all`."""

    dataset: str
    method: str
    network: str
    ipc: str
    seed: int

    @property
    def folder(self) -> str:
        """Where its files are, under the results folder."""
        return f"{self.dataset}/{self.method}/{self.network}/ipc-{self.ipc}/seed-{self.seed}"


Evaluation = tuple[Cell, str]  # a cell and the network that its set is evaluated on


def twin(network: str) -> str:
    """Return the network that 'the same network' means in evaluation."""
    return _TWINS.get(network, network)


def base(method: str) -> str:
    """Return the method that a variant, as `dc-mse`, is a variant of, or the method itself."""
    return method.split("-")[0]


@dataclasses.dataclass(frozen=True)
class Grid:
    """A valid configuration.

    Args:
        config: see schemas/config.schema.yaml.
        schema: that schema.

    Raises:
        InputError: a key, value or type is wrong, or two of them contradict each other.
    """

    config: Mapping[str, Any]
    schema: dataclasses.InitVar[Mapping[str, Any]]
    network_schema: Mapping[str, Any] = dataclasses.field(init=False)

    def __post_init__(self, schema: Mapping[str, Any]) -> None:
        config = configuration.with_text_keys(self.config)
        configuration.validate(config, schema)
        object.__setattr__(self, "config", config)
        object.__setattr__(self, "network_schema", schema["$defs"]["network"])
        known: dict[str, Any] = {}
        for path, section in self._sections().items():
            names = [_options(entry)["name"] for entry in section["datasets"]]
            for entry in section["datasets"]:
                options = _options(entry)
                if "path" in options and options.get("source") not in ("folder", "npz"):
                    raise InputError(
                        f"config key '{path}': data set '{options['name']}': 'path' goes with "
                        "source folder or npz"
                    )
                if known.setdefault(options["name"], options) != options or (
                    names.count(options["name"]) > 1
                ):
                    raise InputError(
                        f"config key '{path}': two data sets are called '{options['name']}'"
                    )
        for key in ("condensation", "reference_network", "evaluation"):
            _check_overrides(key, self.config[key], list(known), self.network_schema)
        for path, section in self._sections().items():
            for cell, tested in self._evaluations(section):
                self.check(cell, tested, path)

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets of the main grid."""
        return [_options(entry)["name"] for entry in self.config["datasets"]]

    def dataset(self, name: str) -> dict[str, Any]:
        """Return the arguments of `dclib.readers.read` for the data set `name`.

        Raises:
            InputError: the configuration does not know it.
        """
        known = {
            options["name"]: options
            for section in self._sections().values()
            for options in map(_options, section["datasets"])
        }
        if name not in known:
            raise InputError(
                f"data set '{name}' is not in the config; there are {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
        return {"source": name, **known[name]}

    def check(self, cell: Cell, tested: str | None = None, path: str = "target") -> None:
        """Refuse a cell that has no meaning, whatever its data look like.

        Args:
            tested: the network that its set is evaluated on, if it is.
            path: where it was asked for.

        Raises:
            InputError: saying what is wrong.
        """
        method = base(cell.method)
        for network in (cell.network, tested or cell.network):
            if not re.fullmatch(self.network_schema["pattern"], network):
                names = self.network_schema["examples"]
                raise InputError(
                    f"{path}: network '{network}' is not one of {', '.join(names)}"
                    f"{did_you_mean(network, names)}"
                )
        if (method == WHOLE) != (cell.ipc == "all"):
            raise InputError(
                f"{path}: method '{cell.method}' with ipc '{cell.ipc}': `whole` has ipc all, every "
                "other method a number of images per class"
            )
        if "-" in cell.method and cell.method not in self.config["condensation"]:
            variants = [name for name in self.config["condensation"] if "-" in name]
            raise InputError(
                f"{path}: method '{cell.method}' has no settings in 'condensation'; variants "
                f"there: {', '.join(variants) or 'none'}{did_you_mean(cell.method, variants)}"
            )
        if method == "dd" and ("BN" in cell.network or "batchnorm" in cell.network):
            raise InputError(
                f"{path}: method '{cell.method}' with network '{cell.network}': dataset "
                "distillation takes no network with BatchNorm"
            )
        smallest = _SMALLEST_CLASS.get(self.dataset(cell.dataset)["source"])
        if smallest and cell.ipc != "all" and int(cell.ipc) > smallest:
            raise InputError(
                f"{path}: {cell.ipc} images per class, but the smallest class of "
                f"'{cell.dataset}' has {smallest}"
            )

    def cells(self) -> list[Cell]:
        """Return the cells of the main grid, in the order of the configuration."""
        return list(dict.fromkeys(cell for cell, _ in self.evaluations()))

    def evaluations(self) -> list[Evaluation]:
        """Return every cell of the main grid with every network that it is evaluated on."""
        return self._evaluations(self.config)

    def table2(self) -> list[Evaluation]:
        """Return the evaluations of Table 2."""
        return [e for section in self.config["table2"] or [] for e in self._evaluations(section)]

    def cross_architecture(self) -> list[Evaluation]:
        """Return the evaluations of the cross-architecture table."""
        section = self.config["cross_architecture"]
        return self._evaluations(section) if section else []

    def ablations(self) -> dict[str, list[Evaluation]]:
        """Return the evaluations of every ablation by its name."""
        sections = self.config["ablations"] or {}
        return {name: self._evaluations(section) for name, section in sections.items() if section}

    def condensation(self, cell: Cell) -> dict[str, Any]:
        """Return the settings with which an iterative method makes the set of `cell`."""
        section, point = self.config["condensation"], cell._asdict()
        settings = _resolve(section[base(cell.method)], point)
        if cell.method != base(cell.method):
            settings.update(_resolve(section[cell.method], point))
        return dict(sorted(settings.items()))  # whatever the order in which they were written down

    def evaluation(self, cell: Cell, network: str) -> dict[str, Any]:
        """Return the settings with which `network` is trained on the set of `cell`."""
        settings = _resolve(self.config["evaluation"], {**cell._asdict(), "network": network})
        del settings["networks"]
        return dict(sorted(settings.items()))

    def reference_network(self, dataset: str, network: str) -> dict[str, Any]:
        """Return the settings with which the network of herding, kcenter, forgetting is trained."""
        point = {"dataset": dataset, "network": network, "method": "", "ipc": ""}
        return dict(sorted(_resolve(self.config["reference_network"], point).items()))

    def expected_models(self, evaluations: Sequence[Evaluation]) -> dict[str, int]:
        """Return how many networks are trained, by dataset/method/network/ipc/eval_network."""
        counts: dict[str, int] = {}
        for cell, network in evaluations:
            key = "/".join((cell.dataset, cell.method, cell.network, cell.ipc, network))
            counts[key] = counts.get(key, 0) + self.evaluation(cell, network)["models"]
        return counts

    def _sections(self) -> dict[str, Mapping[str, Any]]:
        """Every part of the configuration that describes cells, by its key."""
        config = self.config
        sections = {"datasets": config}
        for i, section in enumerate(config["table2"] or []):
            sections[f"table2[{i}]"] = section
        if config["cross_architecture"]:
            sections["cross_architecture"] = config["cross_architecture"]
        for name, section in (config["ablations"] or {}).items():
            if section:
                sections[f"ablations.{name}"] = section
        return sections

    def _evaluations(self, section: Mapping[str, Any]) -> list[Evaluation]:
        seeds = section.get("seeds") or self.config["seeds"]
        networks = section.get("evaluation_networks") or (
            self.config["evaluation"]["networks"] if section is self.config else ["same"]
        )
        pairs = []
        for entry, method, network in itertools.product(
            section["datasets"], section["methods"], section["networks"]
        ):
            name = _options(entry)["name"]
            tested = [twin(network) if other == "same" else other for other in networks]
            if method == WHOLE:  # nothing was condensed, so that the tested network is the only one
                pairs += [(Cell(name, method, n, "all", seeds[0]), n) for n in tested]
                continue
            for ipc, seed in itertools.product(
                section["images_per_class"], seeds[:1] if method in SEEDLESS else seeds
            ):
                cell = Cell(name, method, network, str(ipc), seed)
                pairs += [(cell, n) for n in tested]
        return list(dict.fromkeys(pairs))


def _options(entry: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"name": entry} if isinstance(entry, str) else dict(entry)


def _resolve(section: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a section at one point of the grid, overrides applied."""
    settings = {key: value for key, value in section.items() if key not in _OVERRIDES}
    for key, axis in _OVERRIDES.items():
        overrides, value = section.get(key, {}), str(point[axis])
        if axis in ("method", "network"):
            # What is said of a method or a ConvNet holds for its variants; what says more wins.
            parts = set(value.split("-"))
            names = sorted(
                (name for name in overrides if set(name.split("-")) <= parts),
                key=lambda name: len(name.split("-")),
            )
        else:
            names = [value] if value in overrides else []
        for name in names:
            settings.update(_resolve(overrides[name], point))
    return settings


def _check_overrides(
    path: str,
    section: Mapping[str, Any],
    datasets: Sequence[str],
    network: Mapping[str, Any],
) -> None:
    """Refuse an override for something that cannot exist: it would never be applied."""
    for key, value in section.items():
        if not isinstance(value, Mapping):
            continue
        for name in value if key in _OVERRIDES else ():
            allowed: Sequence[str] = []
            if key == "per_method" and base(name) not in (*SELECTIONS, *ITERATIVE, WHOLE):
                allowed = [*SELECTIONS, *ITERATIVE, WHOLE]
            elif key == "per_dataset" and name not in datasets:
                allowed = sorted({*_SMALLEST_CLASS, *datasets})
            elif key == "per_network" and not re.fullmatch(network["pattern"], name):
                allowed = network["examples"]
            elif key == "per_ipc" and not re.fullmatch("[1-9][0-9]*|all", name):
                allowed = ["a number of images per class", "all"]
            if allowed and name not in allowed:
                raise InputError(
                    f"config key '{path}.{key}.{name}': nothing is called '{name}'; allowed: "
                    f"{', '.join(allowed)}{did_you_mean(name, allowed)}"
                )
        _check_overrides(f"{path}.{key}", value, datasets, network)
