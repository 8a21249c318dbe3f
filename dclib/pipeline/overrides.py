"""Settings that differ at some points of the grid: `dataset=MNIST method=dc: {evaluation: ...}`.

More conditions win over fewer and, among equally many, the later one.
"""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from dclib.conditions import hold, holds
from dclib.errors import InputError, did_you_mean
from dclib.pipeline import documents

# `network` is the one that a set was condensed with, `tested` the one that is trained on it, by
# `protocol`.
AXES = ("dataset", "method", "network", "tested", "protocol", "ipc", "seed")

# What a version before called conditions, nested in the sections themselves.
_OLD = {
    "per_dataset": "dataset",
    "per_method": "method",
    "per_network": "network",
    "per_ipc": "ipc",
}


@dataclasses.dataclass(frozen=True)
class Override:
    """Settings for where all conditions hold.

    Args:
        key: as it is written in the configuration.
        conditions: by axis.
        sections: the settings, by section of the configuration or by method.
    """

    key: str
    conditions: Mapping[str, str]
    sections: Mapping[str, Mapping[str, Any]]

    @functools.cached_property
    def identity(self) -> frozenset[tuple[str, frozenset[str]]]:
        """What is the same for the same conditions, however they are written."""
        return frozenset(
            (axis, frozenset(value.split("-") if axis in ("network", "tested") else [value]))
            for axis, value in self._conditions
        )

    def holds(self, point: Mapping[str, str]) -> bool:
        """Return whether all conditions hold at a point, which has a value on every axis."""
        return hold(self.conditions, point)

    @functools.cached_property
    def _conditions(self) -> list[tuple[str, str]]:
        return list(self.conditions.items())

    def refuse(self, why: str, section: str = "") -> InputError:
        """Return what to raise about it."""
        return InputError(f"config key 'overrides.{self.key}{section and '.'}{section}': {why}")

    def check(
        self,
        section: str,
        points: Sequence[Mapping[str, str]],
        axes: Collection[str],
        uses: Callable[[Mapping[str, str]], bool],
    ) -> None:
        """Refuse settings of a section that can never apply.

        Args:
            points: of all evaluations.
            axes: that the section's settings can differ on.
            uses: whether what is made at a point depends on them.

        Raises:
            InputError: saying why not.
        """
        if odd := [axis for axis in self.conditions if axis not in axes]:
            raise self.refuse(
                f"'{section}' does not depend on {odd[0]}; allowed are conditions on "
                f"{', '.join(axes)}",
                section,
            )
        if any(uses(point) and self.holds(point) for point in points):
            return
        for axis, wanted in self._conditions:
            values = list(dict.fromkeys(point[axis] for point in points))
            if not any(holds(axis, wanted, value) for value in values):
                raise self.refuse(
                    f"no cell of the grids has {axis} '{wanted}'{did_you_mean(wanted, values)}; "
                    f"there are {', '.join(values)}"
                )
        if not any(self.holds(point) for point in points):
            raise self.refuse("no cell of the grids fits all of its conditions")
        raise self.refuse(f"no cell that fits its conditions uses '{section}'", section)


def read(section: Mapping[str, Mapping[str, Any] | None]) -> list[Override]:
    """Return the overrides of a configuration that are not null, and what wins after what loses.

    Raises:
        InputError: a key is not a list of conditions, contradicts itself, or is there twice.
    """
    found: dict[Any, Override] = {}
    for key, sections in section.items():
        override = Override(key, _conditions(key), sections or {})
        if override.identity in found:
            raise override.refuse(
                f"the same conditions are there as '{found[override.identity].key}'; allowed is "
                "one key for both"
            )
        found[override.identity] = override
    told = [override for override in found.values() if section[override.key] is not None]
    return sorted(told, key=lambda override: len(override.conditions))


def _conditions(key: str) -> dict[str, str]:
    conditions: dict[str, str] = {}
    where, allowed = f"config key 'overrides.{key}'", f"allowed are {', '.join(AXES)}"
    for word in key.split():
        axis, equals, value = word.partition("=")
        if not equals or not value:
            raise InputError(
                f"{where}: '{word}' is not a condition; written are conditions like "
                "'dataset=MNIST method=dc', with a blank between them"
            )
        if axis not in AXES:
            raise InputError(
                f"{where}: there is no axis '{axis}'{did_you_mean(axis, AXES)}; {allowed}"
            )
        if axis in conditions:
            raise InputError(
                f"{where}: '{axis}={conditions[axis]}' and '{word}' contradict each other; one of "
                "them is allowed"
            )
        conditions[axis] = value
    if not conditions:
        raise InputError(f"{where} has no condition, as 'dataset=MNIST'; {allowed}")
    return conditions


def refuse_old(config: Mapping[str, Any]) -> None:
    """Refuse the keys by which a version before overrode settings.

    Raises:
        InputError: saying how to write their values now.
    """
    parts: list[tuple[str, str, tuple[str, ...], Any]] = [
        (name, name, (), config.get(name)) for name in ("reference_network", "evaluation")
    ]
    for name, content in _items(config.get("condensation")):
        parts.append((f"condensation.{name}", name, (), content))
    for key, sections in _items(config.get("overrides")):
        for name, content in _items(sections):
            parts.append((f"overrides.{key}.{name}", name, tuple(key.split()), content))
    parts += [("", "", (), config), ("condensation", "", (), config.get("condensation"))]
    for path, section, _, content in parts:
        if section == "evaluation" and "protocol" in dict(_items(content)):
            raise InputError(
                f"config key '{path}.protocol' is now written as {{evaluation: {{protocols: "
                "[own]}} where it was `own`, and {evaluation: {protocols: [dc]}} where it was "
                "`ordinary`"
            )
    first, now = "", dict[str, dict[str, Any]]()
    for path, section, conditions, content in parts:
        for old in _OLD:
            if old in dict(_items(content)):
                first = first or f"{path}{path and '.'}{old}"
        for key, settings in _unfolded(section, content, conditions) if section else ():
            now.setdefault(key, {}).setdefault(section, {}).update(settings)
    if first:
        example = {"dataset=MNIST method=dc": {"evaluation": {"epochs": 1000}}}
        text = documents.text({"overrides": now or example}, in_one_line=True)
        raise InputError(f"config key '{first}' is now written as {'' if now else 'in '}{text}")


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    yield from value.items() if isinstance(value, Mapping) else ()


def _unfolded(
    section: str, content: Any, conditions: tuple[str, ...], nested: bool = False
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings in nested overrides, each with all of its conditions as they are written now."""
    settings = {key: value for key, value in _items(content) if key not in _OLD}
    if nested and settings:
        yield " ".join(conditions), settings
    for old, axis in _OLD.items():
        if section == "evaluation" and axis == "network":
            axis = "tested"
        for value, inner in _items(dict(_items(content)).get(old)):
            yield from _unfolded(section, inner, (*conditions, f"{axis}={value}"), True)
