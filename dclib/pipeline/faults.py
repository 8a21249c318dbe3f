"""What is wrong with a configuration before there are cells of it, and with its overrides."""

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from dclib import methods
from dclib.applications.evaluation import protocols
from dclib.data import sources
from dclib.errors import InputError, did_you_mean
from dclib.methods.imported import settings as imported_settings
from dclib.networks import names as networks
from dclib.pipeline import expansion, overrides
from dclib.pipeline.expansion import SAME, Evaluation, base, options_of, point_of, points_of
from dclib.pipeline.overrides import Override
from dclib.pipeline.paths import Cell

RESERVED = ("tables", "figures")  # folders beside those of the data sets
_TEACHER = "(teacher)"  # where a network that labels images stands among methods; none is so called

Sections = Mapping[str, Mapping[str, Any]]  # as `expansion.sections` returns them


def own_protocols(config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the protocols of a configuration's own: the settings of each, and what it is like.

    Raises:
        InputError: one is called as a known one.
    """
    own = {name: told for name, told in (config["protocols"] or {}).items() if told}
    taken = (protocols.OWN, *protocols.GROUPS, *protocols.PROTOCOLS)
    if known := [name for name in own if name in taken]:
        raise InputError(
            f"config key 'protocols.{known[0]}': there is a protocol of this name; what differs"
            f" from it is an override, as 'protocol={known[0]}: {{evaluation: {{epochs: 10}}}}'"
            ", or a protocol of another name with 'like'"
        )
    return own


def by_own_recipe(protocol: str, own: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether networks are trained by what a set was learnt for.

    Args:
        own: see `own_protocols`.
    """
    told = own.get(protocol, {"like": protocol})
    like = protocols.PROTOCOLS[told.get("like", protocols.DEFAULT)]
    return {**like.settings, **told}.get("recipe") == "own"


def refuse_unknown_methods(
    config: Mapping[str, Any], sections: Sections, every: Sequence[str]
) -> None:
    """Refuse what is no method, no variant of one and not imported, or is two of them.

    Args:
        every: the names of all protocols.
    """
    known, own = methods.names(), config["imported"] or {}
    if both := [name for name in own if name in (*known, "imported")]:
        raise InputError(
            f"config key 'imported.{both[0]}': there is a method of this name; allowed is "
            "another one"
        )
    for name, told in own.items():
        try:
            imported_settings.Settings(**told)
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InputError(f"config key 'imported.{name}': {why}") from error
        if told.get("protocol", protocols.DEFAULT) not in every:
            raise InputError(
                f"config key 'imported.{name}.protocol': '{told['protocol']}' is not one of "
                f"{', '.join(every)}{did_you_mean(told['protocol'], every)}"
            )
    for path, section in sections.items():
        for i, name in enumerate(section["methods"]):
            if base(name, own) not in (*known, "imported"):
                names = [*known, *own]
                raise InputError(
                    f"config key '{path}methods[{i}]': \"{name}\" is not allowed"
                    f"{did_you_mean(name, names)}; allowed: one of {', '.join(names)}, or a "
                    "name under 'imported'"
                )


def data_sets(sections: Sections) -> dict[str, dict[str, Any]]:
    """Return the options of every data set of a configuration, by name."""
    known: dict[str, dict[str, Any]] = {}
    public = sources.without_path()
    for path, section in sections.items():
        names = [options_of(entry)["name"] for entry in section["datasets"]]
        for entry in section["datasets"]:
            options, key = options_of(entry), f"config key '{path}datasets'"
            name = options["name"]
            if name.lower() in RESERVED:
                raise InputError(
                    f"{key}: a data set cannot be called '{name}', as the folders "
                    f"{', '.join(RESERVED)} of the results are"
                )
            if "path" in options and options["source"] in public:
                own = " or ".join(each for each in sources.names() if each not in public)
                raise InputError(f"{key}: data set '{name}': 'path' goes with source {own}")
            if known.setdefault(name, options) != options or names.count(name) > 1:
                raise InputError(f"{key}: two data sets are called '{name}'")
    return known


def refuse_two_names_of_one(
    config: Mapping[str, Any], sections: Sections, known: Collection[str]
) -> None:
    """Refuse what would be one folder on some file systems, or one network in two folders."""
    asked = itertools.chain.from_iterable(section["methods"] for section in sections.values())
    for key, names in (
        ("datasets", known),
        ("condensation", [*config["condensation"], *asked]),
        ("ablations", config["ablations"] or {}),
    ):
        for one, other in _same(names, str.lower):
            raise InputError(
                f"config key '{key}': '{one}' and '{other}' differ only in case, and are one "
                "name on some file systems; allowed is one of them"
            )
    used: dict[str, str] = {}
    for path, section in sections.items():
        tested = "evaluation_networks" if path else "evaluation.networks"
        for key, place in (("networks", "networks"), ("evaluation_networks", tested)):
            for name in section[key]:
                if name == SAME:
                    continue
                if fault := network_fault(name):
                    raise InputError(f"config key '{path}{place}': {fault}")
                used.setdefault(name, f"{path}{place}")
    for one, other in _same(used, lambda name: (name.split("-")[0], *sorted(name.split("-")))):
        raise InputError(
            f"config key '{used[other]}': '{one}' and '{other}' are the same network; allowed "
            "is one name for it"
        )


def check_overrides(
    told: Iterable[Override],
    inherited_from: Mapping[str, Any],
    evaluations: Iterable[Evaluation],
    taught: Iterable[Evaluation],
    imported: Collection[str],
) -> None:
    """Refuse overrides that can never apply.

    Args:
        inherited_from: a configuration, or nothing; what stands in it as well is meant for its
            grid.
        evaluations: of the whole configuration.
        taught: those in which a teacher labels the images.
        imported: the names that the configuration has for sets of others.
    """
    inherited = {
        each.key: each.sections for each in overrides.read(inherited_from.get("overrides") or {})
    }
    own, others = points_of(evaluations), list[dict[str, str]]()
    teachers = [
        point_of(Cell(cell.dataset, _TEACHER, tested.network, "", 0)) for cell, tested in taught
    ]
    for override in told:
        for section, settings in override.sections.items():
            points = own + teachers * (section == "reference_network")
            if inherited.get(override.key, {}).get(section) == settings:
                parts = expansion.sections(inherited_from).values()
                others = others or points_of(itertools.chain(*map(expansion.evaluations, parts)))
                points = others
            uses = functools.partial(_uses, section, imported)
            override.check(section, points, _axes(section), uses)


def _axes(section: str) -> Collection[str]:
    """The axes on which the settings of a section can differ."""
    if section == "reference_network":
        return ("dataset", "network")
    of_evaluation = ("tested", "protocol")
    return [a for a in overrides.AXES if a not in of_evaluation or section == "evaluation"]


def _uses(section: str, imported: Collection[str], point: Mapping[str, str]) -> bool:
    """Whether what is made at a point depends on the settings of a section."""
    folder = base(point["method"], imported)
    if section == "reference_network":
        if folder == _TEACHER:
            return True
        return "reference" in methods.face(folder).teachers
    return section in ("evaluation", point["method"], folder)


def network_fault(network: str) -> str:
    """Return what is wrong with the name of a network, or an empty text."""
    try:
        networks.parse(network)
    except InputError as error:
        return str(error)
    return ""


def _same(names: Iterable[str], key: Callable[[str], Any]) -> Iterator[tuple[str, str]]:
    """Pairs of names that are the same to `key`."""
    first: dict[Any, str] = {}
    for name in names:
        if first.setdefault(key(name), name) != name:
            yield first[key(name)], name
