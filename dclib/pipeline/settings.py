"""Whether a configuration keeps to its schema, and if not, why, in one line; its overrides."""

import contextlib
import functools
import json
import math
import operator
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from dclib.errors import InputError, did_you_mean

_OVERRIDES = {
    "per_dataset": "dataset",
    "per_method": "method",
    "per_network": "network",
    "per_ipc": "ipc",
}


def with_text_keys(value: Any) -> Any:
    """Return a configuration with all keys as text: YAML reads `10:` as a number."""
    if isinstance(value, Mapping):
        return {str(key): with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_text_keys(item) for item in value]
    return value


def parse(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that keeps to its schema, with all keys as text.

    Text where the schema has no text, but a number, `true` or `null` that it spells, is taken for
    that: YAML reads `1e-3` as text, and Snakemake everything in a list after --config.

    Raises:
        InputError: the first fault, in one line.
    """
    parsed: dict[str, Any] = with_text_keys(config)
    validator = _Validator(schema)
    for error in list(validator.iter_errors(parsed)):
        if error.validator == "type" and isinstance(error.instance, str) and error.path:
            kinds = error.validator_value
            with contextlib.suppress(ValueError):
                value = json.loads(error.instance.lower())
                if any(validator.is_type(value, k) for k in _words(kinds)):
                    *above, last = error.absolute_path
                    functools.reduce(operator.getitem, above, parsed)[last] = value
    for error in sorted(validator.iter_errors(parsed), key=lambda e: [str(p) for p in e.path]):
        raise InputError(_explain(error))
    return parsed


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_: object, value: object) -> bool:
    return _is_integer(_, value) or (isinstance(value, float) and math.isfinite(value))


def _matches(
    _: object, pattern: str, value: object, schema: Mapping[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    """As the schema's `pattern`, but `$` does not pass over a line break at the end."""
    if isinstance(value, str) and not re.fullmatch(pattern, value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    {"pattern": _matches},
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
        {"integer": _is_integer, "number": _is_number}
    ),
)


def _words(kinds: str | list[str]) -> list[str]:
    return [kinds] if isinstance(kinds, str) else kinds


def _explain(error: jsonschema.ValidationError) -> str:
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)[1:]
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties":
        allowed = list(schema["properties"])
        patterns = list(schema.get("patternProperties", {}))
        odd = next(
            key
            for key in error.instance
            if key not in allowed and not any(re.search(pattern, key) for pattern in patterns)
        )
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
    if isinstance(error.instance, float) and not math.isfinite(error.instance):
        hint = " (numbers have to be finite)"
    names = schema.get("enum") or schema.get("examples")
    if names:
        hint = did_you_mean(error.instance, names)
    return f"config key '{path}': {value} is not allowed{hint}; allowed: {_allowed(schema)}"


def _allowed(schema: Mapping[str, Any]) -> str:
    """Describe in words what a schema takes."""
    kinds = schema.get("type", [])
    words = [" or ".join(_words(kinds))] if kinds else []
    if "enum" in schema or "examples" in schema:
        words = [f"one of {', '.join(map(str, schema.get('enum') or schema['examples']))}"]
    limits = {
        "minimum": "at least {}",
        "exclusiveMinimum": "above {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "below {}",
        "minItems": "at least {} entries",
        "maxItems": "at most {} entries",
        "minLength": "not empty",
        "maxLength": "at most {} characters",
    }
    words += [text.format(schema[key]) for key, text in limits.items() if key in schema]
    if schema.get("uniqueItems"):
        words.append("no entry twice")
    return ", ".join(words) + (f" ({schema['description']})" if "description" in schema else "")


def resolve(section: Mapping[str, Any], point: Mapping[str, Any]) -> dict[str, Any]:
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
            settings.update(resolve(overrides[name], point))
    return settings


def check_overrides(path: str, section: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    """Refuse an override for something that cannot exist: it would never be applied.

    Args:
        path: of the section in the configuration.
        names: what overrides may be for: lists of data sets (`per_dataset`) and methods
            (`per_method`), and the schema of a network's name (`per_network`).

    Raises:
        InputError: saying what there is.
    """
    for key, value in section.items():
        if not isinstance(value, Mapping):
            continue
        for name in value if key in _OVERRIDES else ():
            if key == "per_network":
                known = re.fullmatch(names[key]["pattern"], name) is not None
                allowed = names[key]["examples"]
            elif key == "per_ipc":
                known = re.fullmatch("[1-9][0-9]*|all", name) is not None
                allowed = ["a number of images per class", "all"]
            else:
                known, allowed = name in names[key], names[key]
            if not known:
                raise InputError(
                    f"config key '{path}.{key}.{name}': nothing is called '{name}'; allowed: "
                    f"{', '.join(allowed)}{did_you_mean(name, allowed)}"
                )
        check_overrides(f"{path}.{key}", value, names)
