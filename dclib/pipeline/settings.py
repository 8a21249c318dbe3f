"""The configuration: what it may hold, how it is read, and what it holds where it says nothing.

A setting is told once, as a field with its type, range, default and meaning: those of methods,
evaluation and data sets by dclib's own classes, those of the pipeline by the ones here. The schema
and the page of settings are made from them:

    python -m dclib.pipeline.settings     writes schemas/config.schema.yaml and docs/settings.md
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypeAliasType

from dclib import methods
from dclib.applications.evaluation import protocols
from dclib.applications.evaluation import settings as evaluation
from dclib.data import sources
from dclib.data.sources.settings import Options
from dclib.fields import Count, Decay, described, settings
from dclib.networks import names as networks
from dclib.pipeline import documents, explain, overrides
from dclib.teachers.reference import settings as reference

ROOT = Path(__file__).resolve().parents[2]
SCHEMA, PAGE = ROOT / "schemas/config.schema.yaml", ROOT / "docs/settings.md"

_Listed = Field(min_length=1, json_schema_extra={"uniqueItems": True})
_VARIANT = "-[A-Za-z0-9]{1,60}"

# What is allowed of these, dclib's folders say: see `schema`.
DataSet = TypeAliasType("DataSet", str)
Method = TypeAliasType("Method", str)
Network = TypeAliasType("Network", str)
Tested = TypeAliasType("Tested", str)
Protocol = TypeAliasType("Protocol", str)

DataSets = Annotated[tuple[DataSet, ...], _Listed]
Methods = Annotated[tuple[Method, ...], _Listed]
Networks = Annotated[tuple[Network, ...], _Listed]
TestedNetworks = Annotated[tuple[Tested, ...], _Listed]
Protocols = Annotated[tuple[Protocol, ...], _Listed]
Known = Annotated[str, Field(json_schema_extra={"enum": [*protocols.PROTOCOLS]})]
ImagesPerClass = Annotated[tuple[Count, ...], _Listed]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1, strict=True)]
Seeds = Annotated[tuple[Seed, ...], _Listed]
Device = Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")]


@settings
class Section:
    """Data sets x methods x networks x images per class x seeds."""

    datasets: DataSets
    """data sets of the grid"""
    images_per_class: ImagesPerClass
    """images per class (ipc) of the grid"""
    methods: Methods
    """what makes the sets; `whole` stands for the whole training split"""
    networks: Networks
    """networks that sets are condensed with"""
    seeds: Seeds | None = None
    """experiment seeds, one set each; null for those of the main grid"""
    evaluation_networks: TestedNetworks | None = None
    """networks that every set is evaluated on; null for the one it was condensed with"""
    protocols: Protocols | None = None
    """ways to train and test; null for those of the main grid"""


@settings
class Figures:
    """Choices for the figures."""

    condensed_sets_ipc: Count = 10
    """images per class of the sets that figure 1 shows, or of the nearest ones in the grid"""


@settings
class Execution:
    """How jobs run; does not make a result stale."""

    device: Device = "auto"
    """auto, cpu, cuda or cuda:N"""
    threads: Count = 1
    """CPU threads of a job"""
    gpu_jobs_per_device: Count = 1
    """jobs that may share a GPU; --resources gpu=N allows N jobs in all"""
    checkpoint_seconds: Decay = 60
    """seconds between checkpoints"""


@settings
class Job:
    """Memory and time of a job."""

    mem_mb: Count | None = None
    """megabytes of memory; null for what a job is predicted to take"""
    runtime: Count = 240
    """minutes of the first attempt; the second has twice as many"""


@settings
class Selection:
    """Memory and time of a selection of real images, which takes no GPU."""

    mem_mb: Count = 8000
    """megabytes of memory"""
    runtime: Count = 60
    """minutes of the first attempt; the second has twice as many"""


@settings
class Resources:
    """What jobs ask a cluster for."""

    condense: Job = Job(runtime=720)
    """memory and time of a condensation"""
    evaluate: Job = Job()
    """memory and time of an evaluation, and of a reference network"""
    select: Selection = Selection()
    """memory and time of a selection"""
    max_runtime: Count = 1440
    """minutes that no attempt exceeds: at most what the partition allows"""


@settings
class Snapshots:
    """What the condensation has beside the settings of methods."""

    snapshots: ImagesPerClass | None = None
    """iterations after which sets of the main grid are kept and evaluated as well; null for none"""


@settings
class Evaluated:
    """What the evaluation has beside the settings of a single one."""

    networks: TestedNetworks = ("same",)
    """networks that every set is evaluated on; same for the one it was condensed with"""
    protocols: Protocols = ("dc",)
    """ways to train and test, by name; own for that of a method's authors"""


@settings
class OwnProtocol:
    """What a protocol has beside the settings of the evaluation."""

    like: Known = "dc"
    """the known protocol that it is like, but for its own settings"""


@settings
class Config:
    """Every key with its meaning, type and range. An overlay holds those that it changes."""

    datasets: DataSets
    """data sets of the grid"""
    images_per_class: ImagesPerClass
    """images per class (ipc) of the grid"""
    methods: Methods
    """what makes the sets; `whole` stands for the whole training split"""
    networks: Networks
    """networks that sets are condensed with"""
    seeds: Seeds
    """experiment seeds, one set each; where none depends on it, the first seed alone"""
    table2: tuple[Section, ...] | None = None
    """grids that Table 2 is drawn up from; null for none"""
    cross_architecture: Section | None = None
    """the grid of the cross-architecture table and heat map; null for none"""
    ablations: dict[str, Section | None] | None = None
    """a grid for each ablation, by a name of your choice; null for none"""
    data_dir: str | None = None
    """folder of public data sets in torchvision's layout; null for $DCLIB_DATA_DIR, else data/"""
    results_dir: Annotated[str, Field(min_length=1)] = "results"
    """folder that everything is written to"""
    condensation: dict[str, Any] = Field(default_factory=dict)
    """settings of each method that learns a set; a variant, as dc-mse, has those of its method but
    for what is said of it"""
    imported: dict[str, Any] | None = None
    """sets of others by names that stand among `methods`: where their files are; null for none"""
    reference_network: dict[str, Any] = Field(default_factory=dict)
    """how the network is trained that herding, kcenter and forgetting look at, one for each data
    set and network"""
    evaluation: dict[str, Any] = Field(default_factory=dict)
    """how networks are trained on the sets; what is said here holds under every protocol"""
    protocols: dict[str, Any] | None = None
    """ways to train and test of your own, each by a name; null for none"""
    overrides: dict[str, Any] | None = None
    """settings that differ at some points of the grid, by conditions, as in `dataset=MNIST
    method=dc`; null for none"""
    figures: Figures = Figures()
    """choices for the figures"""
    execution: Execution = Execution()
    """how jobs run; does not make a result stale. Another device, or number of threads, rounds
    differently in the last digit"""
    resources: Resources = Resources()
    """what jobs ask a cluster for"""


_IMPORTED = "[A-Za-z][A-Za-z0-9_]{0,60}"
_PROTOCOL = {
    "description": "the name of a protocol, of small letters, digits and '-'; not curve",
    "type": "string",
    "pattern": "(?!curve$)[a-z][a-z0-9-]{0,30}$",
}


def learnt() -> list[str]:
    """Return the methods that learn a set: those that have settings, and may have variants."""
    return [name for name in methods.names() if methods.face(name).kind == "learnt"]


def load(files: Sequence[Path], more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read configurations, each on top of the last, as Snakemake does: see `documents.read`.

    Mappings are merged, everything else is replaced as a whole.

    Args:
        files: config.yaml and overlays.
        more: what was given after --config.

    Raises:
        InputError: a file cannot be read, or is no YAML of a configuration.
    """
    config: dict[str, Any] = {}
    for overlay in [*map(documents.read, files), with_text_keys(more or {})]:
        _merge(config, overlay)
    return config


def with_text_keys(value: Any) -> Any:
    """Return a configuration with all keys as text."""
    if isinstance(value, Mapping):
        return {str(key): with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_text_keys(item) for item in value]
    return value


def parse(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that keeps to the schema, with all keys as text and all defaults.

    Raises:
        InputError: the first fault, in one line.
    """
    parsed = with_text_keys(config)
    overrides.refuse_old(parsed)
    filled = _filled(explain.checked(parsed, schema()), schema())
    # What is not said of the evaluation, protocols say.
    said = (*parsed.get("evaluation", {}), *_drawn(Evaluated)["properties"])
    told = {key: value for key, value in filled["evaluation"].items() if key in said}
    return {**filled, "evaluation": told, "protocols": parsed.get("protocols")}


@functools.cache
def schema() -> dict[str, Any]:
    """Return the schema of a configuration, which is JSON Schema 2020-12."""
    document = _drawn(Config)
    keys, names = document["properties"], methods.names()
    kinds = {"evaluation": evaluation.Settings, "reference_network": reference.Settings}
    kinds |= {name: methods.face(name).settings for name in learnt()}
    kinds["imported"] = methods.face("imported").settings
    parts = {name: _drawn(kind) for name, kind in kinds.items()}
    found = {name: {"$ref": f"#/$defs/{name}"} for name in kinds if name != "imported"}
    variants = {f"^{name}{_VARIANT}$": found[name] for name in learnt()}
    keys["condensation"] |= {
        "default": {},
        "additionalProperties": False,
        "properties": {name: {**found[name], "default": {}} for name in learnt()}
        | {"snapshots": _drawn(Snapshots)["properties"]["snapshots"]},
        "patternProperties": variants,
    }
    tested = _drawn(Evaluated)["properties"] | parts["evaluation"]["properties"]
    for name, properties in (
        ("reference_network", parts["reference_network"]["properties"]),
        ("evaluation", tested),
    ):
        keys[name] |= {"default": {}, "additionalProperties": False, "properties": properties}
    keys["overrides"]["additionalProperties"] = {
        "description": "what differs where all of the conditions hold; null for nothing",
        "if": {"type": "null"},
        "else": {"$ref": "#/$defs/Override"},
    }
    protocol = {**_drawn(OwnProtocol)["properties"], **parts["evaluation"]["properties"]}
    keys["protocols"] |= {
        "additionalProperties": {"$ref": "#/$defs/OwnProtocol"},
        "propertyNames": _PROTOCOL,
    }
    keys["imported"] |= {
        "additionalProperties": {"$ref": "#/$defs/imported"},
        "propertyNames": {
            "description": "the name of a set of somebody's, of letters, digits and '_'",
            "type": "string",
            "pattern": f"{_IMPORTED}$",
        },
    }
    keys["ablations"]["propertyNames"] = {
        "description": "the name of an ablation, of letters, digits, '_', '-' and blanks",
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9 _-]*$",
        "maxLength": 60,
    }
    document["$defs"] |= parts | {
        "OwnProtocol": {
            "description": "settings of the evaluation, and what it is like but for them",
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": protocol,
        },
        "Protocol": {
            **_PROTOCOL,
            "description": "one of those known, a group of them, own, or one of `protocols`",
            "examples": [protocols.OWN, *protocols.GROUPS, *protocols.PROTOCOLS],
        },
        "DataSet": _data_set(),
        "Method": {
            "description": f"{' and '.join(learnt())} may have variants, as {learnt()[0]}-x, with "
            "settings of their own in condensation; or a name under imported",
            "type": "string",
            "examples": names,
            "pattern": f"^({'|'.join([_IMPORTED, *(name + _VARIANT for name in learnt())])})$",
        },
        "Network": {
            "description": "ConvNet may have options, as in ConvNet-width64-batchnorm",
            "type": "string",
            "examples": [*networks.NAMES],
            "pattern": networks.PATTERN,
        },
        "Tested": {
            "description": "same, or a network",
            "if": {"const": "same"},
            "else": {"$ref": "#/$defs/Network"},
        },
        "Override": {
            "description": "settings by section: evaluation, reference_network, a learnt method or "
            "a variant",
            "type": "object",
            "additionalProperties": False,
            "properties": found,
            "patternProperties": variants,
        },
    }
    for part in parts.values():
        document["$defs"] |= part.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of the pipeline",
        **document,
    }


def page() -> str:
    """Return the page of settings, docs/settings.md."""
    document, text = schema(), [_INTRODUCTION]
    tables = {"The whole": document, "Part of a grid": document["$defs"]["Section"]}
    for key, part in document["properties"].items():
        part = _resolved(part)
        if "patternProperties" in part:
            tables[f"`{key}`"] = {**part, "properties": {**part["properties"]}}
            for name, inner in part["properties"].items():
                if "properties" in _resolved(inner):
                    tables[f"`{key}.{name}`"] = inner
                    del tables[f"`{key}`"]["properties"][name]
        elif "properties" in part:
            tables[f"`{key}`"] = part
            for name, inner in part["properties"].items():
                if "properties" in _resolved(inner):
                    tables[f"`{key}.{name}`"] = inner
    tables["An entry of `datasets`"] = document["$defs"]["DataSet"]["else"]
    for title, part in tables.items():
        part = _resolved(part)
        meaning = part["description"][:1].upper() + part["description"][1:].rstrip(".")
        text.append(f"## {title}\n\n{meaning}.\n\n| key | value | default | meaning |")
        text.append("|---|---|---|---|\n" + "\n".join(_rows(part)) + "\n")
    return "\n".join(text)


_INTRODUCTION = """# Settings

Made from dclib's classes by `python -m dclib.pipeline.settings`: every key of a configuration.
`config.yaml` and overlays hold what differs from the defaults.

Under `overrides`, settings differ where all of some conditions hold:

```yaml
overrides:
  dataset=MNIST protocol=dsa: {evaluation: {epochs: 500}}
  method=whole: {evaluation: {models: 5}}
  network=MLP: {dc: {lr_img: 0.01}}
```

A condition is on `dataset`, `method`, `network` (that a set is condensed with), `tested` (the
network that is trained on it), `protocol`, `ipc` or `seed`. One on a method holds for its variants
too, one on a ConvNet for those with further options. More conditions win over fewer and, among
equally many, the later one. The sections are `evaluation`, `reference_network` (by `dataset` and
`network`), and every method or variant under `condensation` (not by `tested` or `protocol`). What
can never apply is refused.
"""


def _rows(schema: Mapping[str, Any]) -> Iterator[str]:
    own = schema.get("default", {})
    for key, part in schema["properties"].items():
        inner = _resolved(part)
        nested = "properties" in inner or "patternProperties" in inner
        items = part["items"] if "items" in part else inner.get("else", {})
        values = explain.allowed(inner) or "part of a grid or null"
        values = values.replace("array", "list").replace("object", "mapping")
        if items.get("enum"):
            values += f", of {', '.join(items['enum'])}"
        if "pattern" in inner:
            values += f", `{inner['pattern']}`"
        default = "required" if key in schema.get("required", []) else ""
        if "default" in part and not nested:
            value = own.get(key, part["default"])
            default = f"`{documents.text(value, in_one_line=True)}`"
        cells = [f"`{key}`", "see below" if nested else values, default, part["description"]]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _drawn(kind: type) -> dict[str, Any]:
    return _plain(described(kind))


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema as pydantic draws it up, in the words that `explain` tells a user."""
    plain = {key: value for key, value in schema.items() if key not in ("title", "anyOf", "const")}
    given = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    if len(given) == 1:  # or null
        if "$ref" in given[0]:
            plain |= {"if": {"type": "null"}, "else": given[0]}
        else:
            kinds = given[0]["type"]
            plain = {**given[0], **plain, "type": [*explain.words(kinds), "null"]}
            if "enum" in plain:
                plain["enum"] = [*plain["enum"], None]
    elif given:
        plain["anyOf"] = schema["anyOf"]
    if "const" in schema:
        plain["enum"] = [schema["const"]]
    if "enum" in plain:
        del plain["type"]
    if "description" in plain:
        plain = {"description": " ".join(plain["description"].split()), **plain}
        plain["description"] = " ".join(plain["description"].split())
    for key in ("properties", "$defs"):
        if key in plain:
            plain[key] = {name: _plain(part) for name, part in plain[key].items()}
    for key in ("items", "additionalProperties", "propertyNames", "else"):
        if isinstance(plain.get(key), Mapping):
            plain[key] = _plain(plain[key])
    items = plain.get("items", {})
    if "description" in plain and "description" not in items and "$ref" not in items and items:
        plain["items"] = {"description": plain["description"], **items}
    return plain


def _data_set() -> dict[str, Any]:
    """A public data set's name, or the fields of `Options`."""
    public, every = list(sources.without_path()), sources.names()
    named = {"enum": public, "description": "a data set without a source is one of the public ones"}
    entry = _drawn(Options)
    for part in entry["properties"].values():
        if part.get("default", part) is None:  # may be left out, but not be null
            del part["default"]
            kinds = [kind for kind in part["type"] if kind != "null"]
            part["type"] = kinds if len(kinds) > 1 else kinds[0]
    return {
        "description": entry["description"],
        "type": ["string", "object"],
        "if": {"type": "string"},
        "then": {"description": "a public data set", "enum": public},
        "else": {
            **entry,
            "allOf": [
                {
                    "if": {
                        "properties": {
                            "source": {"enum": [name for name in every if name not in public]}
                        },
                        "required": ["source"],
                    },
                    "then": {"required": ["name", "path"]},
                },
                {"if": {"not": {"required": ["source"]}}, "then": {"properties": {"name": named}}},
            ],
        },
    }


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema without a reference at its root."""
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = globals()["schema"]()["$defs"][schema["$ref"].split("/")[-1]]
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}}


def _filled(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A valid mapping and, for the keys that it leaves out, their defaults."""
    filled = dict(config)
    for key, part in _resolved(schema).get("properties", {}).items():
        default = part.get("default")
        value = config.get(key, default)
        if isinstance(value, Mapping):
            own = default if isinstance(default, Mapping) else {}
            filled[key] = _filled({**own, **value}, part)
        elif key in config or "default" in part:
            filled[key] = value
    return filled


def _merge(config: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    for key, value in overlay.items():
        if not isinstance(value, Mapping):
            config[key] = value
            continue
        if not isinstance(config.get(key), dict):
            config[key] = {}
        _merge(config[key], value)


def schema_text() -> str:
    """Return what schemas/config.schema.yaml holds."""
    made = "# Made from dclib's classes by `python -m dclib.pipeline.settings`."
    return f"{made}\n{documents.text(schema())}\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
    PAGE.write_text(page(), encoding="utf-8")
