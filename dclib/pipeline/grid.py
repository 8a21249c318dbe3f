"""From a configuration to the cells of the grid and the settings of each of them.

It takes a mapping that somebody else has read, and needs no PyTorch, so that it costs a pipeline
nothing to ask it.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dclib.data import sources
from dclib.data.checks import Facts
from dclib.errors import InputError, did_you_mean
from dclib.pipeline import paths as limits
from dclib.pipeline import settings as configuration
from dclib.pipeline.paths import Cell

# Methods that choose real images; all but `random` look at a network that was trained on them all.
BY_REFERENCE = ("herding", "kcenter", "forgetting")
SELECTIONS = ("random", *BY_REFERENCE)
# Methods that learn a set, and the modules of dclib.methods that do it.
ITERATIVE = {"dc": "dc.method", "dd": "dd.method"}
WHOLE = "whole"
# Methods whose set does not depend on the seed: only the first seed has a cell.
SEEDLESS = (*BY_REFERENCE, WHOLE)

RESERVED = ("tables", "figures")  # folders beside those of the data sets
# What 'the same network' means in evaluation: a set is too small to estimate BatchNorm's
# statistics, so that a VGG or ResNet with BatchNorm is replaced by its instance-norm twin.
_TWINS = {"VGG11BN": "VGG11", "ResNet18BN": "ResNet18", "ResNet18BN_AP": "ResNet18"}


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
        look: what tells the facts of a data set, as `dclib.data.sources.look`; None to take a
            user's own data sets on trust, without a look at their files.

    Raises:
        InputError: a key, value or type is wrong, or two of them contradict each other.
    """

    config: Mapping[str, Any]
    schema: dataclasses.InitVar[Mapping[str, Any]]
    look: dataclasses.InitVar[Callable[..., Facts] | None] = None
    network_schema: Mapping[str, Any] = dataclasses.field(init=False)
    facts: Mapping[str, Facts] = dataclasses.field(init=False)

    def __post_init__(self, schema: Mapping[str, Any], look: Callable[..., Facts] | None) -> None:
        object.__setattr__(self, "config", configuration.parse(self.config, schema))
        object.__setattr__(self, "network_schema", schema["$defs"]["network"])
        known: dict[str, Any] = {}
        for path, section in self._sections().items():
            names = [_options(entry)["name"] for entry in section["datasets"]]
            for entry in section["datasets"]:
                options, key = _options(entry), f"config key '{path}datasets'"
                if options["name"].lower() in RESERVED:
                    raise InputError(
                        f"{key}: a data set cannot be called '{options['name']}', as the folders "
                        f"{', '.join(RESERVED)} of the results are"
                    )
                if "path" in options and options.get("source") not in ("folder", "npz"):
                    raise InputError(
                        f"{key}: data set '{options['name']}': 'path' goes with source folder or "
                        "npz"
                    )
                if known.setdefault(options["name"], options) != options or (
                    names.count(options["name"]) > 1
                ):
                    raise InputError(f"{key}: two data sets are called '{options['name']}'")
        variants = [name for name in self.config["condensation"] if "-" in name]
        allowed = {
            "per_dataset": list(dict.fromkeys([*known, *sources.PUBLIC])),
            "per_method": [*SELECTIONS, *ITERATIVE, WHOLE, *variants],
            "per_network": self.network_schema,
        }
        for key in ("condensation", "reference_network", "evaluation"):
            configuration.check_overrides(key, self.config[key], allowed)
        facts = {
            name: (look or sources.look)(**self.dataset(name))
            for name in known
            if look or self.dataset(name)["source"] in sources.PUBLIC
        }
        object.__setattr__(self, "facts", facts)
        for path, section in self._sections().items():
            for cell, tested in self._evaluations(section):
                self.check(cell, tested, path)

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets of the main grid."""
        return [_options(entry)["name"] for entry in self.config["datasets"]]

    def dataset(self, name: str) -> dict[str, Any]:
        """Return the arguments of `dclib.data.readers.read` for the data set `name`.

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

    def check(self, cell: Cell, tested: str | None = None, path: str | None = None) -> None:
        """Refuse a cell that has no meaning, or that the data are too small for.

        Args:
            tested: the network that its set is evaluated on, if it is.
            path: of the section of the configuration that asks for it; None for a target.

        Raises:
            InputError: saying what is wrong.
        """
        for key, fault in self._faults(cell, tested or cell.network, path):
            where = "target" if path is None else f"config key '{path}{key}'"
            raise InputError(f"{where}: {fault}")

    def _faults(self, cell: Cell, tested: str, path: str | None) -> Iterator[tuple[str, str]]:
        """What is wrong with a cell, each with its key in the configuration."""
        method = base(cell.method)
        tested_key = "evaluation_networks" if path else "evaluation.networks"
        used = {cell.network: "networks"} | ({tested: tested_key} if tested != cell.network else {})
        for network, key in used.items():
            names = self.network_schema["examples"]
            if not re.fullmatch(self.network_schema["pattern"], network):
                hint = did_you_mean(network, names)
                yield key, f"network '{network}' is not one of {', '.join(names)}{hint}"
            if fault := limits.options_fault(network):
                yield key, fault
        if (method == WHOLE) != (cell.ipc == "all"):
            yield (
                "methods",
                (
                    f"method '{cell.method}' with ipc '{cell.ipc}': `whole` has ipc all, every "
                    "other method a number of images per class"
                ),
            )
        if "-" in cell.method and cell.method not in self.config["condensation"]:
            variants = [name for name in self.config["condensation"] if "-" in name]
            yield (
                "methods",
                (
                    f"method '{cell.method}' has no settings in 'condensation'; variants there: "
                    f"{', '.join(variants) or 'none'}{did_you_mean(cell.method, variants)}"
                ),
            )
        if method == "dd" and ("BN" in cell.network or "batchnorm" in cell.network):
            yield (
                "networks",
                (
                    f"method '{cell.method}' with network '{cell.network}': dataset distillation "
                    "takes no network with BatchNorm"
                ),
            )
        self.dataset(cell.dataset)
        facts = self.facts.get(cell.dataset)
        if facts is None:
            return
        if cell.ipc != "all" and int(cell.ipc) > facts.smallest_class:
            yield (
                "images_per_class",
                (
                    f"{cell.ipc} images per class, but the smallest class of '{cell.dataset}' has "
                    f"{facts.smallest_class}"
                ),
            )
        for network, key in used.items():
            if fault := limits.images_fault(network, cell.dataset, facts.image_size):
                yield key, fault

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

    def all_evaluations(self) -> list[Evaluation]:
        """Return the evaluations of all grids of the configuration, each once."""
        ablations = itertools.chain(*self.ablations().values())
        every = [*self.evaluations(), *self.table2(), *self.cross_architecture(), *ablations]
        return list(dict.fromkeys(every))

    def condensation(self, cell: Cell) -> dict[str, Any]:
        """Return the settings with which an iterative method makes the set of `cell`."""
        section, point = self.config["condensation"], cell._asdict()
        settings = configuration.resolve(section[base(cell.method)], point)
        if cell.method != base(cell.method):
            settings.update(configuration.resolve(section[cell.method], point))
        return dict(sorted(settings.items()))  # whatever the order in which they were written down

    def evaluation(self, cell: Cell, network: str) -> dict[str, Any]:
        """Return the settings with which `network` is trained on the set of `cell`."""
        settings = configuration.resolve(
            self.config["evaluation"], {**cell._asdict(), "network": network}
        )
        del settings["networks"]
        return dict(sorted(settings.items()))

    def reference_network(self, dataset: str, network: str) -> dict[str, Any]:
        """Return the settings with which the network of herding, kcenter, forgetting is trained."""
        point = {"dataset": dataset, "network": network, "method": "", "ipc": ""}
        return dict(sorted(configuration.resolve(self.config["reference_network"], point).items()))

    def expected_models(self, evaluations: Sequence[Evaluation]) -> dict[str, int]:
        """Return how many networks are trained, by dataset/method/network/ipc/eval_network."""
        counts: dict[str, int] = {}
        for cell, network in evaluations:
            key = "/".join((cell.dataset, cell.method, cell.network, cell.ipc, network))
            counts[key] = counts.get(key, 0) + self.evaluation(cell, network)["models"]
        return counts

    def _sections(self) -> dict[str, Mapping[str, Any]]:
        """Every part of the configuration that describes cells, by what its keys begin with."""
        config = self.config
        sections = {"": config}
        for i, section in enumerate(config["table2"] or []):
            sections[f"table2[{i}]."] = section
        if config["cross_architecture"]:
            sections["cross_architecture."] = config["cross_architecture"]
        for name, section in (config["ablations"] or {}).items():
            if section:
                sections[f"ablations.{name}."] = section
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
