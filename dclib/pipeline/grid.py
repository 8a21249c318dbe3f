"""From a configuration to the cells of the grid and the settings of each of them.

It takes a mapping that somebody else has read, and needs no PyTorch, so that it costs a pipeline
nothing to ask it.
"""

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from dclib import conditions, methods
from dclib.applications.evaluation import protocols
from dclib.applications.evaluation import settings as evaluation
from dclib.data import checks, sources
from dclib.data.checks import Facts
from dclib.errors import InputError, did_you_mean
from dclib.methods.imported import settings as imported_settings
from dclib.networks import names as networks
from dclib.pipeline import overrides
from dclib.pipeline import settings as configuration
from dclib.pipeline.paths import Cell, Trained
from dclib.teachers.reference import settings as reference

WHOLE, SAME = "whole", "same"
RESERVED = ("tables", "figures")  # folders beside those of the data sets

Evaluation = tuple[Cell, Trained]  # a cell, and on which network and how its set is evaluated


def twin(network: str) -> str:
    """Return the network that 'the same network' means in evaluation."""
    return networks.parse(network).twin


def base(method: str, imported: Collection[str] = ()) -> str:
    """Return the folder of a method: of what a variant, as `dc-mse`, or a snapshot is one of.

    Args:
        imported: the names that a configuration has for sets of others.
    """
    return "imported" if method in imported else method.partition("@")[0].split("-")[0]


def key_of(cell: Cell, tested: Trained) -> str:
    """Return what stands for the evaluations of all seeds: the parts of `tabulation.KEY`."""
    return "/".join((cell.dataset, cell.method, cell.network, cell.ipc, *tested))


class Grid:
    """A valid configuration.

    Args:
        config: see docs/settings.md.
        look: what tells the facts of a data set, as `dclib.data.sources.look`; None to take a
            user's own data sets on trust, without a look at their files.
        base: the configuration that `config` is an overlay on. Overrides that stand in both are
            meant for its grid.

    Raises:
        InputError: a key, value or type is wrong, or two of them contradict each other.

    Attributes:
        config: with all keys as text and all defaults.
        facts: of every data set that has been looked at, by name.
    """

    config: Mapping[str, Any]
    facts: Mapping[str, Facts]

    def __init__(
        self,
        config: Mapping[str, Any],
        look: Callable[[Mapping[str, Any]], Facts] | None = None,
        base: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = configuration.parse(config)
        self._said = configuration.with_text_keys(config).get("condensation") or {}
        self._sections = _sections(self.config)
        self._own_protocols = self._protocols()
        self._refuse_unknown_methods()
        self._known = self._data_sets()
        self._refuse_two_names_of_one()
        public = sources.without_path()
        self.facts = {
            name: (look or sources.look)(options)
            for name, options in self._known.items()
            if look or options["source"] in public
        }
        self._overrides = overrides.read(self.config["overrides"] or {})
        self._resolved: dict[Any, dict[str, Any]] = {}
        self._asked = {path: _evaluations(section) for path, section in self._sections.items()}
        for path, evaluations in self._asked.items():
            for cell, tested in dict.fromkeys((c._replace(seed=0), t) for c, t in evaluations):
                self.check(cell, tested, path)
        self._check_overrides(configuration.parse(base) if base is not None else {})
        self._asked["snapshots."] = self._snapshots()
        for cell, tested in dict.fromkeys(
            (c._replace(seed=0), t) for c, t in itertools.chain(*self._asked.values())
        ):
            told = self.evaluation(cell, tested)  # which refuses what does not go together
            own = (self.config["imported"] or {}).get(cell.method, {})
            facts = self.facts.get(cell.dataset)
            whitened = "whitened" in (told["space"], own.get("space"))
            if whitened and facts and (fault := checks.whitening_fault(cell.dataset, facts)):
                raise InputError(f"space 'whitened': {fault}")
            face = methods.face(self.base(cell.method))
            if face.fault and facts:
                made, of = face.settings(**self.condensation(cell)), networks.parse(cell.network)
                if fault := face.fault(made, of, int(cell.ipc), cell.dataset, facts):
                    raise InputError(f"method '{cell.method}': {fault}")

    def base(self, method: str) -> str:
        """Return the folder in `dclib.methods` of a method of this configuration."""
        return base(method, self.config["imported"] or ())

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets of the main grid."""
        return [_options(entry)["name"] for entry in self.config["datasets"]]

    def dataset(self, name: str) -> dict[str, Any]:
        """Return the options of the data set `name`, as `dclib.data.sources` takes them.

        Raises:
            InputError: the configuration does not know it.
        """
        if name not in self._known:
            raise InputError(
                f"data set '{name}' is not in the config; there are {', '.join(self._known)}"
                f"{did_you_mean(name, self._known)}"
            )
        return dict(self._known[name])

    def check(self, cell: Cell, tested: Trained | None = None, path: str | None = None) -> None:
        """Refuse a cell that has no meaning, or that the data are too small for.

        Args:
            tested: on what and how its set is evaluated, if it is.
            path: of the section of the configuration that asks for it; None for a target.

        Raises:
            InputError: saying what is wrong.
        """
        for key, fault in self._faults(cell, tested or Trained(cell.network), path):
            where = "target" if path is None else f"config key '{path}{key}'"
            raise InputError(f"{where}: {fault}")

    def _faults(self, cell: Cell, how: Trained, path: str | None) -> Iterator[tuple[str, str]]:
        """What is wrong with a cell, each with its key in the configuration."""
        tested, tested_key = how.network, "evaluation_networks" if path else "evaluation.networks"
        used = {cell.network: "networks"} | ({tested: tested_key} if tested != cell.network else {})
        protocol_key = "protocols" if path else "evaluation.protocols"
        for network, key in used.items():
            if fault := _network_fault(network):
                yield key, fault
        face = methods.face(self.base(cell.method))
        if (face.kind == WHOLE) != (cell.ipc == "all"):
            yield (
                "methods",
                (
                    f"method '{cell.method}' with ipc '{cell.ipc}': `whole` has ipc all, every "
                    "other method a number of images per class"
                ),
            )
        if fault := self._snapshot_fault(cell):
            yield "methods", fault
        method = cell.finished.method
        if "-" in method and method not in self.config["condensation"]:
            variants = [name for name in self.config["condensation"] if "-" in name]
            yield (
                "methods",
                (
                    f"method '{method}' has no settings in 'condensation'; variants there: "
                    f"{', '.join(variants) or 'none'}{did_you_mean(method, variants)}"
                ),
            )
        known = self._all_protocols()
        if how.protocol not in known:
            names = [protocols.OWN, *protocols.GROUPS, *known]
            yield (
                protocol_key,
                (
                    f"protocol '{how.protocol}' is neither known nor in 'protocols'; there are "
                    f"{', '.join(names)}{did_you_mean(how.protocol, names)}"
                ),
            )
        elif self._by_own_recipe(how.protocol) and face.recipe == evaluation.ORDINARY:
            yield (
                protocol_key,
                (
                    f"protocol '{how.protocol}' trains by what a set was learnt for, and the sets "
                    f"of method '{cell.method}' say nothing of that; 'own' is each method's own"
                ),
            )
        if not face.batchnorm and networks.parse(cell.network).batchnorm:
            yield (
                "networks",
                (
                    f"method '{cell.method}' with network '{cell.network}': this method takes no "
                    "network with BatchNorm"
                ),
            )
        self.dataset(cell.dataset)
        facts = self.facts.get(cell.dataset)
        if facts is None:
            return
        scarce = cell.ipc != "all" and int(cell.ipc) > facts.smallest_class
        if scarce and face.kind == "selected":
            yield (
                "images_per_class",
                (
                    f"{cell.ipc} images per class, but the smallest class of '{cell.dataset}' has "
                    f"{facts.smallest_class}, which method '{cell.method}' takes them from"
                ),
            )
        for network, key in used.items():
            if fault := networks.parse(network).image_fault(cell.dataset, facts.image_size):
                yield key, fault

    def cells(self) -> list[Cell]:
        """Return the cells of the main grid, in the order of the configuration."""
        return list(dict.fromkeys(cell for cell, _ in self.evaluations()))

    def evaluations(self) -> list[Evaluation]:
        """Return every cell of the main grid with every network that it is evaluated on."""
        return list(self._asked[""])

    def table2(self) -> list[Evaluation]:
        """Return the evaluations of Table 2."""
        return [
            e for path, found in self._asked.items() if path.startswith("table2") for e in found
        ]

    def cross_architecture(self) -> list[Evaluation]:
        """Return the evaluations of the cross-architecture table."""
        return list(self._asked.get("cross_architecture.", []))

    def ablations(self) -> dict[str, list[Evaluation]]:
        """Return the evaluations of every ablation by its name."""
        names = self.config["ablations"] or {}
        found = {name: self._asked.get(f"ablations.{name}.") for name in names}
        return {name: list(evaluations) for name, evaluations in found.items() if evaluations}

    def snapshots(self) -> list[Evaluation]:
        """Return the evaluations of the snapshots, and of the sets that they are of."""
        after = self._asked["snapshots."]
        return [*after, *dict.fromkeys((cell.finished, tested) for cell, tested in after)]

    def iterations(self, cell: Cell) -> int:
        """Return after how many iterations the set of a cell is as it is; 0 if it has none."""
        grows = methods.face(self.base(cell.method)).grows
        return int(self.condensation(cell)[grows[0]]) if grows else 0

    def before(self, cell: Cell) -> list[Cell]:
        """Return the snapshots that are asked for of a set before it is what it is, in order."""
        asked = self.config["condensation"]["snapshots"] or []
        return [cell.after(n) for n in sorted(asked) if n < self.iterations(cell)]

    def all_evaluations(self) -> list[Evaluation]:
        """Return the evaluations of all grids of the configuration, each once."""
        return list(dict.fromkeys(itertools.chain(*self._asked.values())))

    def condensation(self, cell: Cell) -> dict[str, Any]:
        """Return all settings with which the set of `cell` is made; a selection has none."""
        name, section = self.base(cell.method), self.config["condensation"]
        if name not in section:
            return {}
        face, point = methods.face(name), _point(cell)
        place = {**point, "dataset": self.dataset(cell.dataset)["source"]}
        own = [(f"{name} {key}", told) for key, told in conditions.applying(face.where, place)]
        for each in dict.fromkeys([name, cell.finished.method]):  # not the defaults of all
            said = self._said.get(each) or {}
            own.append((each, {key: section[each][key] for key in said}))
        settings = self._settings(face.settings, own, point)
        return settings | (dict.fromkeys(face.grows, cell.snapshot) if cell.snapshot else {})

    def evaluation(self, cell: Cell, tested: Trained) -> dict[str, Any]:
        """Return all settings with which networks are trained on the set of `cell`.

        A known protocol comes first, then what the configuration says of the evaluation, of a
        protocol of its own, and of points of the grid.
        """
        told = self._own_protocols.get(tested.protocol, {})
        like = told.get("like", tested.protocol if not told else protocols.DEFAULT)
        point = _point(cell, tested)
        place = {**point, "dataset": self.dataset(cell.dataset)["source"]}
        parts = [*protocols.parts(like, place)]
        section = self.config["evaluation"]
        general = {k: value for k, value in section.items() if k not in ("networks", "protocols")}
        own = {key: value for key, value in told.items() if key != "like"}
        named = [("", general), (f"protocol {tested.protocol}", own), ("evaluation", {})]
        where = f"protocols.{tested.protocol}" if told else "evaluation"
        return self._settings(evaluation.Settings, [*parts, *named], point, where)

    def taught(self, cell: Cell, tested: Trained) -> bool:
        """Return whether a teacher labels the images of an evaluation."""
        settings = evaluation.Settings(**self.evaluation(cell, tested))
        recipe = methods.face(self.base(cell.method)).recipe
        ordinary = evaluation.recipe_of(settings, recipe) == evaluation.ORDINARY
        return ordinary and settings.labels == "teacher"

    def changed(self, evaluations: Iterable[Evaluation]) -> dict[str, list[str]]:
        """Return which settings of known protocols this configuration changes, by protocol.

        How many networks there are, and how and when they are tested, is no part of a protocol.
        """
        free, found = {"models", "curve_points", "precision"}, dict[str, set[str]]()
        for cell, tested in evaluations:
            if tested.protocol in self._own_protocols:
                continue
            point = _point(cell, tested) | {"dataset": self.dataset(cell.dataset)["source"]}
            parts = [*protocols.parts(tested.protocol, point)]
            usual = self._settings(evaluation.Settings, parts, point)
            own = self.evaluation(cell, tested)
            recipe = methods.face(self.base(cell.method)).recipe
            wanted = evaluation.relevant(evaluation.Settings(**own), recipe)
            names = {name for name in wanted if own[name] != usual[name]} - free
            found.setdefault(tested.protocol, set()).update(names)
        return {name: sorted(changes) for name, changes in found.items() if changes}

    def _snapshots(self) -> list[Evaluation]:
        """The evaluations of the main grid, of the snapshots of their sets."""
        found = [
            (earlier, tested) for cell, tested in self._asked[""] for earlier in self.before(cell)
        ]
        if self.config["condensation"]["snapshots"] and not found:
            raise InputError(
                "config key 'condensation.snapshots': no set of the main grid has iterations after "
                "these; there are snapshots of methods whose schedule does not depend on the "
                f"number of iterations: {', '.join(n for n in methods.names() if _grows(n))}"
            )
        return found

    def _snapshot_fault(self, cell: Cell) -> str:
        """What is wrong with a cell that is a snapshot, or nothing."""
        if cell.snapshot is None:
            return ""
        if not _grows(self.base(cell.method)):
            return (
                f"method '{cell.method}': there are snapshots of "
                f"{', '.join(n for n in methods.names() if _grows(n))} alone"
            )
        if cell.snapshot >= (last := self.iterations(cell.finished)):
            return f"method '{cell.method}': the set is finished after {last} iterations"
        return ""

    def _protocols(self) -> dict[str, dict[str, Any]]:
        """The protocols of the configuration's own: the settings of each, and what it is like."""
        own = {name: told for name, told in (self.config["protocols"] or {}).items() if told}
        taken = (protocols.OWN, *protocols.GROUPS, *protocols.PROTOCOLS)
        if known := [name for name in own if name in taken]:
            raise InputError(
                f"config key 'protocols.{known[0]}': there is a protocol of this name; what differs"
                f" from it is an override, as 'protocol={known[0]}: {{evaluation: {{epochs: 10}}}}'"
                ", or a protocol of another name with 'like'"
            )
        return own

    def imported(self, method: str) -> Mapping[str, Any]:
        """Return what the configuration says of the sets of others that it calls `method`."""
        told: Mapping[str, Any] = self.config["imported"][method]
        return told

    def _refuse_unknown_methods(self) -> None:
        """Refuse what is no method, no variant of one and not imported, or is two of them."""
        known, own = methods.names(), self.config["imported"] or {}
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
            if told.get("protocol", protocols.DEFAULT) not in self._all_protocols():
                every = self._all_protocols()
                raise InputError(
                    f"config key 'imported.{name}.protocol': '{told['protocol']}' is not one of "
                    f"{', '.join(every)}{did_you_mean(told['protocol'], every)}"
                )
        for path, section in self._sections.items():
            for i, name in enumerate(section["methods"]):
                if base(name, own) not in (*known, "imported"):
                    names = [*known, *own]
                    raise InputError(
                        f"config key '{path}methods[{i}]': \"{name}\" is not allowed"
                        f"{did_you_mean(name, names)}; allowed: one of {', '.join(names)}, or a "
                        "name under 'imported'"
                    )

    def _all_protocols(self) -> list[str]:
        return [*protocols.PROTOCOLS, *self._own_protocols]

    def _by_own_recipe(self, protocol: str) -> bool:
        """Whether networks are trained by what a set was learnt for."""
        own = self._own_protocols.get(protocol, {"like": protocol})
        like = protocols.PROTOCOLS[own.get("like", protocols.DEFAULT)]
        return {**like.settings, **own}.get("recipe") == "own"

    def reference(self, dataset: str, network: str) -> dict[str, Any]:
        """Return all settings of the network that herding, kcenter and forgetting look at."""
        own = [("reference_network", self.config["reference_network"])]
        point = _point(Cell(dataset, "", network, "", 0))
        return self._settings(reference.Settings, own, point)

    def expected_models(self, evaluations: Sequence[Evaluation]) -> dict[str, int]:
        """Return how many networks are trained, by `key_of`."""
        counts: dict[str, int] = {}
        for cell, tested in evaluations:
            key = key_of(cell, tested)
            counts[key] = counts.get(key, 0) + self.evaluation(cell, tested)["models"]
        return counts

    def _settings(
        self,
        kind: type[Any],
        sections: Sequence[tuple[str, Mapping[str, Any]]],
        point: Mapping[str, str],
        where: str = "",
    ) -> dict[str, Any]:
        """Sections on top of each other, each with what is said of it at a point.

        Args:
            where: what is to blame for settings that do not go together; the last section if empty.
        """
        told = [
            (name, override)
            for name, _ in sections
            for override in self._overrides
            if name in override.sections and override.holds(point)
        ]
        key = (*(name for name, _ in sections), *((name, each.key) for name, each in told))
        if key not in self._resolved:
            values: dict[str, Any] = {}
            for section, own in sections:
                values |= own
                for name, override in told:
                    values |= override.sections[name] if name == section else {}
            try:
                self._resolved[key] = to_jsonable_python(kind(**values))
            except ValidationError as error:
                fault = error.errors()[0]
                if not fault["loc"]:  # it is about several of them together
                    raise InputError(
                        f"config key '{where or sections[-1][0]}': {fault['ctx']['error']}"
                    ) from error
                raise InputError(
                    f"config key '{'.'.join([sections[-1][0], *map(str, fault['loc'])])}': "
                    f"{fault['input']!r} is not allowed; {fault['msg']}"
                ) from error
        return dict(self._resolved[key])

    def _data_sets(self) -> dict[str, dict[str, Any]]:
        """The options of every data set of the configuration, by name."""
        known: dict[str, dict[str, Any]] = {}
        public = sources.without_path()
        for path, section in self._sections.items():
            names = [_options(entry)["name"] for entry in section["datasets"]]
            for entry in section["datasets"]:
                options, key = _options(entry), f"config key '{path}datasets'"
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

    def _refuse_two_names_of_one(self) -> None:
        """Refuse what would be one folder on some file systems, or one network in two folders."""
        for key, names in (
            ("datasets", self._known),
            ("condensation", self.config["condensation"]),
            ("ablations", self.config["ablations"] or {}),
        ):
            for one, other in _same(names, str.lower):
                raise InputError(
                    f"config key '{key}': '{one}' and '{other}' differ only in case, and are one "
                    "name on some file systems; allowed is one of them"
                )
        used: dict[str, str] = {}
        for path, section in self._sections.items():
            tested = "evaluation_networks" if path else "evaluation.networks"
            for key, place in (("networks", "networks"), ("evaluation_networks", tested)):
                for name in section[key]:
                    if name == SAME:
                        continue
                    if fault := _network_fault(name):
                        raise InputError(f"config key '{path}{place}': {fault}")
                    used.setdefault(name, f"{path}{place}")
        for one, other in _same(used, lambda name: (name.split("-")[0], *sorted(name.split("-")))):
            raise InputError(
                f"config key '{used[other]}': '{one}' and '{other}' are the same network; allowed "
                "is one name for it"
            )

    def _check_overrides(self, base: Mapping[str, Any]) -> None:
        """Refuse what can never apply; what stands in `base` as well is meant for its grid."""
        inherited = {
            each.key: each.sections for each in overrides.read(base.get("overrides") or {})
        }
        own, others = _points(self.all_evaluations()), list[dict[str, str]]()
        teachers = [
            _point(Cell(cell.dataset, _TEACHER, tested.network, "", 0))
            for cell, tested in self.all_evaluations()
            if self.taught(cell, tested)
        ]
        for override in self._overrides:
            for section, settings in override.sections.items():
                points = own + teachers * (section == "reference_network")
                if inherited.get(override.key, {}).get(section) == settings:
                    others = others or _points(
                        itertools.chain(*map(_evaluations, _sections(base).values()))
                    )
                    points = others
                override.check(
                    section,
                    points,
                    _axes(section),
                    functools.partial(_uses, section, self.config["imported"] or ()),
                )


def _sections(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Every part of a configuration that describes cells, by what its keys begin with."""
    main = config["evaluation"]
    sections = {"": {**config, "evaluation_networks": main["networks"]}}
    for i, section in enumerate(config["table2"] or []):
        sections[f"table2[{i}]."] = section
    sections["cross_architecture."] = config["cross_architecture"]
    for name, section in (config["ablations"] or {}).items():
        sections[f"ablations.{name}."] = section
    return {
        path: {
            **section,
            "seeds": section.get("seeds") or config["seeds"],
            "evaluation_networks": section.get("evaluation_networks") or [SAME],
            "imported": config["imported"] or {},
            "protocols": (path and section.get("protocols")) or main["protocols"],
        }
        for path, section in sections.items()
        if section
    }


def _evaluations(section: Mapping[str, Any]) -> list[Evaluation]:
    """The evaluations of a part of a configuration, each once."""
    seeds, pairs = section["seeds"], []
    for entry, method, network in itertools.product(
        section["datasets"], section["methods"], section["networks"]
    ):
        name, own = _options(entry)["name"], section["imported"].get(method)
        face = methods.face(base(method, section["imported"]))
        tested = [
            Trained(twin(network if each == SAME else each), protocol)
            for each in section["evaluation_networks"]
            for told in section["protocols"]
            for protocol in protocols.expanded(told, (own or {}).get("protocol", face.protocol))
        ]
        if face.kind == WHOLE:  # nothing is condensed, so that the tested network is the only one
            pairs += [(Cell(name, method, how.network, "all", seeds[0]), how) for how in tested]
            continue
        of_method = seeds if face.seeded else seeds[:1]
        if own:
            of_method = _experiments(own, seeds)
        for ipc, seed in itertools.product(section["images_per_class"], of_method):
            pairs += [(Cell(name, method, network, str(ipc), seed), how) for how in tested]
    return list(dict.fromkeys(pairs))


_NOTHING = Trained("", "")
_TEACHER = "(teacher)"  # where a network that labels images stands among methods; none is so called


def _experiments(imported: Mapping[str, Any], seeds: Sequence[int]) -> Sequence[int]:
    """The seeds for which there are sets of somebody's: seed 0 is the first one of a file."""
    if imported.get("experiments"):
        return [seed for seed in seeds if seed < imported["experiments"]]
    return seeds if "{seed}" in imported["file"] else seeds[:1]


def _point(cell: Cell, tested: Trained = _NOTHING) -> dict[str, str]:
    """Where a cell, the network that is tested and the protocol are on each axis of overrides."""
    how = {"tested": tested.network, "protocol": tested.protocol}
    return {**cell.finished._asdict(), "seed": str(cell.seed), **how}


def _points(evaluations: Iterable[Evaluation]) -> list[dict[str, str]]:
    return [_point(cell, tested) for cell, tested in evaluations]


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


def _grows(method: str) -> bool:
    """Whether there are snapshots of a method's sets."""
    return bool(methods.face(method).grows)


def _network_fault(network: str) -> str:
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


def _options(entry: str | Mapping[str, Any]) -> dict[str, Any]:
    """The options of a data set from its entry in the configuration."""
    if isinstance(entry, str):
        return {"source": entry, "name": entry}
    return {"source": entry["name"], **entry}
