"""The configuration: how it is read, and what it holds where it says nothing.

A setting is told once, as a field with its type, range, default and meaning: those of methods,
evaluation and data sets by dclib's own classes, those of the pipeline by `dclib.pipeline.keys`. The
schema and the page of settings are made from them:

    python -m dclib.pipeline.settings     writes schemas/config.schema.yaml and docs/settings.md
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dclib.pipeline import documents, explain, keys, overrides
from dclib.pipeline.schema import drawn, resolved, schema

ROOT = Path(__file__).resolve().parents[2]
SCHEMA, PAGE = ROOT / "schemas/config.schema.yaml", ROOT / "docs/settings.md"


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
    said = (*parsed.get("evaluation", {}), *drawn(keys.Evaluated)["properties"])
    told = {key: value for key, value in filled["evaluation"].items() if key in said}
    return {**filled, "evaluation": told, "protocols": parsed.get("protocols")}


def page() -> str:
    """Return the page of settings, docs/settings.md."""
    document, text = schema(), [_INTRODUCTION]
    tables = {"The whole": document, "Part of a grid": document["$defs"]["Section"]}
    for key, part in document["properties"].items():
        part = resolved(part)
        if "patternProperties" in part:
            tables[f"`{key}`"] = {**part, "properties": {**part["properties"]}}
            for name, inner in part["properties"].items():
                if "properties" in resolved(inner):
                    tables[f"`{key}.{name}`"] = inner
                    del tables[f"`{key}`"]["properties"][name]
        elif "properties" in part:
            tables[f"`{key}`"] = part
            for name, inner in part["properties"].items():
                if "properties" in resolved(inner):
                    tables[f"`{key}.{name}`"] = inner
    tables["An entry of `datasets`"] = document["$defs"]["DataSet"]["else"]
    for title, part in tables.items():
        part = resolved(part)
        meaning = part["description"][:1].upper() + part["description"][1:].rstrip(".")
        text.append(f"## {title}\n\n{meaning}.\n\n| key | value | default | meaning |")
        text.append("|---|---|---|---|\n" + "\n".join(_rows(part)) + "\n")
    return "\n".join(text)


_INTRODUCTION = """# Settings

Made from dclib's classes by `python -m dclib.pipeline.settings`: every key of a configuration.
What an entry of `datasets` takes is in [data.md](data.md), of `imported` in [judge.md](judge.md).
`config.yaml` and overlays hold what differs from the defaults.

Under `overrides`, settings differ where all of some conditions hold:

```yaml
overrides:
  dataset=MNIST protocol=dsa: {evaluation: {epochs: 500}}
  method=whole: {evaluation: {models: 5}}
  network=MLP: {dc: {lr_img: 0.05}}
```

A condition is on `dataset`, `method`, `network` (that a set is condensed with), `tested` (the
network that is trained on it), `protocol`, `ipc` or `seed`. One on a method holds for its variants
too, one on a ConvNet for those with further options. More conditions win over fewer and, among
equally many, the later one. `ipc=10+` holds from 10 images per class on. The sections are
`evaluation`, `reference_network` (by `dataset` and `network`), and every method or variant under
`condensation` (not by `tested` or `protocol`). What can never apply is refused.
"""


def _rows(schema: Mapping[str, Any]) -> Iterator[str]:
    own = schema.get("default", {})
    for key, part in schema["properties"].items():
        inner = resolved(part)
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


def _filled(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """A valid mapping and, for the keys that it leaves out, their defaults."""
    filled = dict(config)
    for key, part in resolved(schema).get("properties", {}).items():
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
