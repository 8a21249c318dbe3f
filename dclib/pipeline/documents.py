"""YAML as people mean it: a key twice is an error, and what is no number stays as it is written.

PyYAML follows YAML 1.1, where `on` is true, `010` is 8, `1:30` is 90 and a day is a date, and takes
the last of two equal keys. Here, as in YAML 1.2, all of these are text, which a setting that wants
a number refuses.
"""

import contextlib
import re
from pathlib import Path
from typing import Any

import yaml

from dclib.errors import InputError, one_line

# Aliases of aliases can stand for more than the memory holds; nobody writes as much by hand.
MOST_VALUES = 100_000
DEEPEST = 50

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = (f"{_TAG}str", f"{_TAG}seq", f"{_TAG}map")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile("[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(
    r"[-+]?((0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", re.ASCII
)


def read(path: Path) -> dict[str, Any]:
    """Return the mapping in a file of YAML (or JSON), with all keys as text.

    Raises:
        InputError: it cannot be read, is not YAML, or something else than a mapping; a key is given
            twice, or there are more values than anybody writes by hand.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = ": ".join(part for part in (error.context, error.problem) if part)
        raise InputError(f"{path} is not a config in YAML: {what}{where}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not a config in YAML: {one_line(error)}") from error
    except RecursionError as error:
        raise InputError(f"{path} is not a config in YAML: {_too_deep()}") from error
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path} is not a config in YAML: it has no lines 'KEY: VALUE'")
    content: dict[str, Any] = _Reader(path).value(node)
    return content


def text(value: Any, *, in_one_line: bool = False) -> str:
    """Return a value as YAML, without names for what is there twice."""
    width = float("inf") if in_one_line else 100
    written: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=in_one_line, width=width
    )
    return written.removesuffix("...\n").strip()


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _too_deep() -> str:
    return f"values in one another, more than {DEEPEST} deep"


class _Reader:
    """Makes values of the nodes of one document."""

    def __init__(self, path: Path) -> None:
        self.path, self.values = path, 0

    def refuse(self, node: yaml.Node, why: str) -> InputError:
        return InputError(f"{self.path}: line {node.start_mark.line + 1}: {why}")

    def value(self, node: yaml.Node, depth: int = 0) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise self.refuse(node, f"with its aliases it has more than {MOST_VALUES} values")
        if depth > DEEPEST:
            raise self.refuse(node, _too_deep())
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.replace(_TAG, "!!")
            raise self.refuse(node, f"the tag {tag!r} is not allowed, nor is any other")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        assert isinstance(node, yaml.ScalarNode)
        return _word(node.value) if node.style is None else node.value

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.refuse(key, "a key has to be a word, not a list or a mapping")
            line, name = key.start_mark.line + 1, key.value
            if name in lines:
                raise InputError(
                    f"{self.path}: key {name!r} is given twice, in line {lines[name]} and in line "
                    f"{line}; allowed is once"
                )
            lines[name], content = line, self.value(item, depth + 1)
            if name != "<<" or key.style is not None:
                own[name] = content
                continue
            for each in reversed(content if isinstance(content, list) else [content]):
                if not isinstance(each, dict):
                    raise self.refuse(item, "only mappings can be merged with '<<'")
                merged |= each
        return {**merged, **own}


def _word(word: str) -> Any:
    """Return what a word without quotation marks means."""
    if word.lower() in _CONSTANTS:
        return _CONSTANTS[word.lower()]
    if _INTEGER.fullmatch(word):
        with contextlib.suppress(ValueError):  # thousands of digits
            return int(word)
    if _FLOAT.fullmatch(word.lower()):
        return float(re.sub("[.](?=[in])", "", word.lower()))
    return word
