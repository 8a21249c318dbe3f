"""Whether a configuration keeps to its schema, and if not, why, in one line."""

import contextlib
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema

from dclib.errors import InputError, did_you_mean


def checked(config: dict[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that keeps to its schema.

    Text where the schema has no text, but a number, `true` or `null` that it spells, is taken for
    that: YAML reads `1e-3` as text, and Snakemake everything in a list after --config.

    Raises:
        InputError: the first fault.
    """
    validator = _Validator(schema)

    def faults() -> set[tuple[str | int, ...]]:
        return {
            tuple(one.absolute_path) for e in validator.iter_errors(config) for one in _leaves(e)
        }

    for path in sorted(faults(), key=str):
        above: Any = functools.reduce(_below, path[:-1], config) if path else None
        text = above[path[-1]] if above else None
        if isinstance(text, str):
            with contextlib.suppress(ValueError):
                above[path[-1]] = json.loads(text.lower())
                if path in faults():
                    above[path[-1]] = text
    for error in sorted(validator.iter_errors(config), key=lambda e: [str(p) for p in e.path]):
        raise InputError(_explain(error))
    return config


def _below(part: Any, key: str | int) -> Any:
    return part[key]


def _leaves(error: jsonschema.ValidationError) -> Iterator[jsonschema.ValidationError]:
    """An error, or where several kinds are allowed what is wrong with each."""
    if not error.context:
        yield error
    for one in error.context:
        yield from _leaves(one)


def allowed(schema: Mapping[str, Any]) -> str:
    """Describe in words what a schema takes, but for its description."""
    kinds = [{"boolean": "true or false"}.get(kind, kind) for kind in words(schema.get("type"))]
    told = [" or ".join(kinds)] if kinds else []
    if "enum" in schema or "examples" in schema:
        told = [f"one of {', '.join(map(str, schema.get('enum') or schema['examples']))}"]
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
    told += [text.format(schema[key]) for key, text in limits.items() if key in schema]
    if schema.get("uniqueItems"):
        told.append("no entry twice")
    return ", ".join(told)


def words(kinds: str | list[str] | None) -> list[str]:
    """Return the types that a schema names, as a list."""
    return [kinds] if isinstance(kinds, str) else kinds or []


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


def _explain(error: jsonschema.ValidationError) -> str:
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)[1:]
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator == "additionalProperties":
        names = list(schema["properties"])
        patterns = list(schema.get("patternProperties", {}))
        odd = next(
            key
            for key in error.instance
            if key not in names and not any(re.search(pattern, key) for pattern in patterns)
        )
        return (
            f"config key '{f'{path}.{odd}' if path else odd}' is unknown{did_you_mean(odd, names)}"
            f"; allowed here: {', '.join(names)}"
        )
    if error.validator == "required":
        missing = next(key for key in schema["required"] if key not in error.instance)
        return f"config key '{f'{path}.{missing}' if path else missing}' is missing"
    value = json.dumps(error.instance, default=str)
    value = value if len(value) <= 60 else value[:57] + "..."
    hint = ""
    if isinstance(error.instance, float) and not math.isfinite(error.instance):
        hint = " (numbers have to be finite)"
    if near := schema.get("enum") or schema.get("examples"):
        hint = did_you_mean(error.instance, near)
    meaning = f" ({schema['description']})" if "description" in schema else ""
    return f"config key '{path}': {value} is not allowed{hint}; allowed: {allowed(schema)}{meaning}"
