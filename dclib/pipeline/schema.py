"""The schema of a configuration, drawn up from the classes that its settings are fields of."""

import functools
from collections.abc import Mapping
from typing import Any

from dclib import methods
from dclib.applications.evaluation import protocols
from dclib.applications.evaluation import settings as evaluation
from dclib.data import sources
from dclib.data.sources.settings import Options
from dclib.fields import described
from dclib.networks import names as networks
from dclib.pipeline import explain, keys
from dclib.teachers.reference import settings as reference

_VARIANT = "-[A-Za-z0-9]{1,60}"
_IMPORTED = "[A-Za-z][A-Za-z0-9_]{0,60}"
_PROTOCOL = {
    "description": "the name of a protocol, of small letters, digits and '-'; not curve",
    "type": "string",
    "pattern": "(?!curve$)[a-z][a-z0-9-]{0,30}$",
}


def learnt() -> list[str]:
    """Return the methods that learn a set: those that have settings, and may have variants."""
    return [name for name in methods.names() if methods.face(name).kind == "learnt"]


@functools.cache
def schema() -> dict[str, Any]:
    """Return the schema of a configuration, which is JSON Schema 2020-12."""
    document = drawn(keys.Config)
    own, names = document["properties"], methods.names()
    kinds = {"evaluation": evaluation.Settings, "reference_network": reference.Settings}
    kinds |= {name: methods.face(name).settings for name in learnt()}
    kinds["imported"] = methods.face("imported").settings
    parts = {name: drawn(kind) for name, kind in kinds.items()}
    found = {name: {"$ref": f"#/$defs/{name}"} for name in kinds if name != "imported"}
    variants = {f"^{name}{_VARIANT}$": found[name] for name in learnt()}
    own["condensation"] |= {
        "default": {},
        "additionalProperties": False,
        "properties": {name: {**found[name], "default": {}} for name in learnt()}
        | {"snapshots": drawn(keys.Snapshots)["properties"]["snapshots"]},
        "patternProperties": variants,
    }
    tested = drawn(keys.Evaluated)["properties"] | parts["evaluation"]["properties"]
    for name, properties in (
        ("reference_network", parts["reference_network"]["properties"]),
        ("evaluation", tested),
    ):
        own[name] |= {"default": {}, "additionalProperties": False, "properties": properties}
    own["overrides"]["additionalProperties"] = {
        "description": "what differs where all of the conditions hold; null for nothing",
        "if": {"type": "null"},
        "else": {"$ref": "#/$defs/Override"},
    }
    protocol = {**drawn(keys.OwnProtocol)["properties"], **parts["evaluation"]["properties"]}
    own["protocols"] |= {
        "additionalProperties": {"$ref": "#/$defs/OwnProtocol"},
        "propertyNames": _PROTOCOL,
    }
    own["imported"] |= {
        "additionalProperties": {"$ref": "#/$defs/imported"},
        "propertyNames": {
            "description": "the name of a set of somebody's, of letters, digits and '_'",
            "type": "string",
            "pattern": f"{_IMPORTED}$",
        },
    }
    own["ablations"]["propertyNames"] = {
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


def resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a part of the schema without a reference at its root."""
    if "$ref" not in part:
        return part
    found: Mapping[str, Any] = schema()["$defs"][part["$ref"].split("/")[-1]]
    return {**found, **{key: value for key, value in part.items() if key != "$ref"}}


def drawn(kind: type) -> dict[str, Any]:
    """Return the schema of a class of settings."""
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
    entry = drawn(Options)
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
