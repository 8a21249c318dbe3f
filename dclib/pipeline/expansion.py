"""From a configuration to the cells of its grids, and where each is on the axes of overrides."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dclib import conditions, methods
from dclib.applications.evaluation import protocols
from dclib.errors import InputError
from dclib.networks import names as networks
from dclib.pipeline.paths import Cell, Trained

WHOLE, RANDOM, SAME = "whole", "random", "same"

_NOTHING = Trained("", "")

Evaluation = tuple[Cell, Trained]  # a cell, and on which network and how its set is evaluated


def twin(network: str) -> str:
    """Return the network that 'the same network' means in evaluation."""
    return networks.parse(network).twin


def base(method: str, imported: Collection[str] = ()) -> str:
    """Return the folder of a method, or of what a variant or a snapshot is one of.

    Args:
        imported: the names that a configuration has for sets of others.
    """
    return "imported" if method in imported else conditions.base(method)


def key_of(cell: Cell, tested: Trained) -> str:
    """Return what stands for the evaluations of all seeds: the parts of `tabulation.KEY`."""
    return "/".join((cell.dataset, cell.method, cell.network, cell.ipc, *tested))


def sections(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return every part of a configuration that describes cells, by what its keys begin with."""
    main = config["evaluation"]
    parts = {"": {**config, "evaluation_networks": main["networks"]}}
    for i, section in enumerate(config["table2"] or []):
        parts[f"table2[{i}]."] = section
    parts["cross_architecture."] = config["cross_architecture"]
    for name, section in (config["ablations"] or {}).items():
        parts[f"ablations.{name}."] = section
    return {
        path: {
            **section,
            "seeds": section.get("seeds") or config["seeds"],
            "evaluation_networks": section.get("evaluation_networks") or [SAME],
            "imported": config["imported"] or {},
            "protocols": (path and section.get("protocols")) or main["protocols"],
        }
        for path, section in parts.items()
        if section
    }


def evaluations(section: Mapping[str, Any]) -> list[Evaluation]:
    """Return the evaluations of a part of a configuration, each once."""
    seeds, pairs = section["seeds"], []
    for entry, method, network in itertools.product(
        section["datasets"], section["methods"], section["networks"]
    ):
        name, own = options_of(entry)["name"], section["imported"].get(method)
        face = methods.face(base(method, section["imported"]))
        authors = _beside(section) if method == RANDOM else (_own(method, section),)
        tested = [
            Trained(twin(network) if each == SAME else each, protocol)
            for each in section["evaluation_networks"]
            for told in section["protocols"]
            for protocol in protocols.expanded(told, authors)
        ]
        if face.kind == WHOLE:  # nothing is condensed, so that the tested network is the only one
            pairs += [(Cell(name, method, how.network, "all", seeds[0]), how) for how in tested]
            continue
        of_method = seeds if face.seeded else seeds[:1]
        if own:
            of_method = _experiments(method, own, seeds)
        for ipc, seed in itertools.product(section["images_per_class"], of_method):
            pairs += [(Cell(name, method, network, str(ipc), seed), how) for how in tested]
    return list(dict.fromkeys(pairs))


def _own(method: str, section: Mapping[str, Any]) -> str:
    """The protocol of a method's authors."""
    told = section["imported"].get(method, {})
    return str(told.get("protocol", methods.face(base(method, section["imported"])).protocol))


def _beside(section: Mapping[str, Any]) -> tuple[str, ...]:
    """The protocols under which random images stand beside methods under their own ones.

    All of those but what takes more than images to train on; that of `dc` where there are none.
    """
    others = (method for method in section["methods"] if method != RANDOM)
    own, known = dict.fromkeys(_own(method, section) for method in others), protocols.PROTOCOLS
    found = (name for name in own if name not in known or "recipe" not in known[name].settings)
    return tuple(found) or (_own(RANDOM, section),)


def options_of(entry: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a data set from its entry in the configuration."""
    if isinstance(entry, str):
        return {"source": entry, "name": entry}
    return {"source": entry["name"], **entry}


def _experiments(method: str, imported: Mapping[str, Any], seeds: Sequence[int]) -> Sequence[int]:
    """The seeds for which there are sets of somebody's: seed 0 is the first one of a file."""
    if count := imported.get("experiments"):
        if min(seeds) >= count:
            raise InputError(
                f"config key 'imported.{method}.experiments': {count} sets are those of seeds 0 to "
                f"{count - 1}, and seeds are {', '.join(map(str, seeds))}"
            )
        return [seed for seed in seeds if seed < count]
    return seeds if "{seed}" in imported["file"] else seeds[:1]


def point_of(cell: Cell, tested: Trained = _NOTHING) -> dict[str, str]:
    """Return where a cell, the network tested and the protocol are on the axes of overrides."""
    how = {"tested": tested.network, "protocol": tested.protocol}
    return {**cell.finished._asdict(), "seed": str(cell.seed), **how}


def points_of(evaluations: Iterable[Evaluation]) -> list[dict[str, str]]:
    """Return where evaluations are."""
    return [point_of(cell, tested) for cell, tested in evaluations]
