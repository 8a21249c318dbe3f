"""From a configuration to the cells of the grid and the settings of each of them.

It takes a mapping that somebody else has read, and needs no PyTorch, so that it costs a pipeline
nothing to ask it.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jsonschema

from dclib.errors import InputError, did_you_mean

# Methods and the modules of dclib.methods that make their sets.
SELECTIONS = {"random": "coresets"}
ITERATIVE = {"dc": "gradient_matching"}
WHOLE = "whole"

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

    def __post_init__(self, schema: Mapping[str, Any]) -> None:
        config = _with_text_keys(self.config)
        _validate(config, schema)
        object.__setattr__(self, "config", config)
        names = [options["name"] for options in self._datasets()]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"config key 'datasets': two data sets are called '{name}'")
        _check_override_names("condensation", self.config["condensation"], self)
        _check_override_names("evaluation", self.config["evaluation"], self)

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets."""
        return [options["name"] for options in self._datasets()]

    def dataset(self, name: str) -> dict[str, Any]:
        """Return the arguments of `dclib.datasets.read` for the data set `name`.

        Raises:
            InputError: the configuration does not know it.
        """
        known = {options["name"]: options for options in self._datasets()}
        if name not in known:
            raise InputError(
                f"data set '{name}' is not in the config; there are {', '.join(known)}"
                f"{did_you_mean(name, known)}"
            )
        return {"source": name, **known[name]}

    def cells(self) -> list[Cell]:
        """Return the cells of the main grid, in the order of the configuration."""
        config = self.config
        cells = []
        for dataset in self.datasets:
            for method in config["methods"]:
                for network in config["networks"]:
                    if method == WHOLE:
                        cells.append(Cell(dataset, method, network, "all", config["seeds"][0]))
                    else:
                        cells += [
                            Cell(dataset, method, network, str(ipc), seed)
                            for ipc in config["images_per_class"]
                            for seed in config["seeds"]
                        ]
        return cells

    def evaluations(self) -> list[tuple[Cell, str]]:
        """Return every cell of the main grid with every network that it is evaluated on."""
        pairs = []
        for cell in self.cells():
            own = _TWINS.get(cell.network, cell.network)
            for name in self.config["evaluation"]["networks"]:
                pairs.append((cell, own if name == "same" else name))
        return list(dict.fromkeys(pairs))

    def condensation(self, cell: Cell) -> dict[str, Any]:
        """Return the settings with which an iterative method makes the set of `cell`."""
        return _resolve(self.config["condensation"][cell.method], cell._asdict())

    def evaluation(self, cell: Cell, network: str) -> dict[str, Any]:
        """Return the settings with which `network` is trained on the set of `cell`."""
        settings = _resolve(self.config["evaluation"], {**cell._asdict(), "network": network})
        del settings["networks"]
        return settings

    def expected_models(self) -> dict[str, int]:
        """Return how many networks the grid trains, by dataset/method/network/ipc/eval_network."""
        counts: dict[str, int] = {}
        for cell, network in self.evaluations():
            key = "/".join((cell.dataset, cell.method, cell.network, cell.ipc, network))
            counts[key] = counts.get(key, 0) + self.evaluation(cell, network)["models"]
        return counts

    def _datasets(self) -> list[dict[str, Any]]:
        return [
            {"name": entry} if isinstance(entry, str) else dict(entry)
            for entry in self.config["datasets"]
        ]


def _resolve(section: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a section at one point of the grid, overrides applied."""
    settings = {key: value for key, value in section.items() if key not in _OVERRIDES}
    for key, axis in _OVERRIDES.items():
        override = section.get(key, {}).get(str(point[axis]))
        if override is not None:
            settings.update(_resolve(override, point))
    return settings


def _check_override_names(path: str, section: Mapping[str, Any], grid: Grid) -> None:
    """Refuse an override for something that cannot exist: it would never be applied."""
    for key, value in section.items():
        if not isinstance(value, Mapping):
            continue
        for name in value if key in _OVERRIDES else ():
            if key == "per_method":
                allowed: Sequence[str] = [*SELECTIONS, *ITERATIVE, WHOLE]
            elif key == "per_dataset":
                allowed = sorted(
                    {"MNIST", "FashionMNIST", "SVHN", "CIFAR10", "digits", *grid.datasets}
                )
            elif key == "per_ipc" and not re.fullmatch("[1-9][0-9]*|all", name):
                allowed = ["a number of images per class", "all"]
            else:
                continue
            if name not in allowed:
                raise InputError(
                    f"config key '{path}.{key}.{name}': nothing is called '{name}'; allowed: "
                    f"{', '.join(allowed)}{did_you_mean(name, allowed)}"
                )
        _check_override_names(f"{path}.{key}", value, grid)


def _with_text_keys(value: Any) -> Any:
    """YAML reads `10:` as a number; keys are compared as text."""
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_text_keys(item) for item in value]
    return value


def _validate(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Raise InputError for the first fault, in one line."""
    validator = jsonschema.Draft202012Validator(schema)
    for error in sorted(validator.iter_errors(config), key=lambda e: [str(p) for p in e.path]):
        raise InputError(_explain(error))


def _explain(error: jsonschema.ValidationError) -> str:
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)[1:]
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties":
        allowed = list(schema["properties"])
        odd = next(key for key in error.instance if key not in allowed)
        full = f"{path}.{odd}" if path else odd
        return (
            f"config key '{full}' is unknown{did_you_mean(odd, allowed)}; allowed here: "
            f"{', '.join(allowed)}"
        )
    if error.validator == "required":
        missing = next(key for key in schema["required"] if key not in error.instance)
        return f"config key '{f'{path}.{missing}' if path else missing}' is missing"
    value = json.dumps(error.instance, default=str)
    value = value if len(value) <= 60 else value[:57] + "..."
    hint = ""
    names = schema.get("enum") or schema.get("examples")
    if names:
        hint = did_you_mean(error.instance, names)
    elif isinstance(error.instance, str) and _is_number(error.instance):
        hint = " (this is text; in YAML write numbers without quotes, and 1.0e-3 for 1e-3)"
    return f"config key '{path}': {value} is not allowed{hint}; allowed: {_allowed(schema)}"


def _allowed(schema: Mapping[str, Any]) -> str:
    """Describe in words what a schema takes."""
    kinds = schema.get("type", [])
    words = [" or ".join([kinds] if isinstance(kinds, str) else kinds)] if kinds else []
    if "enum" in schema or "examples" in schema:
        words = [f"one of {', '.join(map(str, schema.get('enum') or schema['examples']))}"]
    limits = {
        "minimum": "at least {}",
        "exclusiveMinimum": "above {}",
        "exclusiveMaximum": "below {}",
        "minItems": "at least {} entries",
        "maxItems": "at most {} entries",
        "minLength": "not empty",
    }
    words += [text.format(schema[key]) for key, text in limits.items() if key in schema]
    if schema.get("uniqueItems"):
        words.append("no entry twice")
    return ", ".join(words) + (f" ({schema['description']})" if "description" in schema else "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
