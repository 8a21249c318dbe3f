"""Whether a configuration keeps to its schema, and if not, why, in one line."""

import json
import re
from collections.abc import Mapping
from typing import Any

import jsonschema

from dclib.errors import InputError, did_you_mean


def with_text_keys(value: Any) -> Any:
    """Return a configuration with all keys as text: YAML reads `10:` as a number."""
    if isinstance(value, Mapping):
        return {str(key): with_text_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_text_keys(item) for item in value]
    return value


def validate(config: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Raise InputError for the first fault, in one line."""
    kinds = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=kinds)(
        schema
    )
    for error in sorted(validator.iter_errors(config), key=lambda e: [str(p) for p in e.path]):
        raise InputError(_explain(error))


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
    names = schema.get("enum") or schema.get("examples")
    if names:
        hint = did_you_mean(error.instance, names)
    elif isinstance(error.instance, str) and _is_number(error.instance):
        hint = (
            " (this is text; in YAML write numbers without quotes, and 1.0e-3 for 1e-3; lists and "
            "mappings are understood with --configfile only, not with --config)"
        )
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
