"""From a configuration to the cells of the grid and the settings of each of them.

It takes a mapping that somebody else has read, and needs no PyTorch, so that it costs a pipeline
nothing to ask it.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from dclib import conditions, methods
from dclib.applications.evaluation import protocols
from dclib.applications.evaluation import settings as evaluation
from dclib.data import checks, sources
from dclib.data.checks import Facts
from dclib.errors import InputError, did_you_mean
from dclib.networks import names as networks
from dclib.pipeline import expansion, faults, overrides
from dclib.pipeline import settings as configuration
from dclib.pipeline.expansion import WHOLE, Evaluation, base, key_of, options_of, point_of
from dclib.pipeline.paths import Cell, Trained
from dclib.teachers.reference import settings as reference


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
        sections = expansion.sections(self.config)
        self._own_protocols = faults.own_protocols(self.config)
        faults.refuse_unknown_methods(self.config, sections, self._all_protocols())
        self._known = faults.data_sets(sections)
        faults.refuse_two_names_of_one(self.config, sections, self._known)
        public = sources.without_path()
        self.facts = {
            name: (look or sources.look)(options)
            for name, options in self._known.items()
            if look or options["source"] in public
        }
        self._overrides = overrides.read(self.config["overrides"] or {})
        self._resolved: dict[Any, dict[str, Any]] = {}
        self._asked = {path: expansion.evaluations(section) for path, section in sections.items()}
        self._main = frozenset(cell for cell, _ in self._asked[""])
        for path, evaluations in self._asked.items():
            for cell, tested in dict.fromkeys((c._replace(seed=0), t) for c, t in evaluations):
                self.check(cell, tested, path)
        faults.check_overrides(
            self._overrides,
            configuration.parse(base) if base is not None else {},
            self.all_evaluations(),
            [each for each in self.all_evaluations() if self.taught(*each)],
            self.config["imported"] or (),
        )
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
        return [options_of(entry)["name"] for entry in self.config["datasets"]]

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
            if fault := faults.network_fault(network):
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
        allowed = dict.fromkeys([*self.config["condensation"], *conditions.methods(face.where)])
        if "-" in method and method not in allowed:
            variants = [name for name in allowed if "-" in name]
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
        elif (
            faults.by_own_recipe(how.protocol, self._own_protocols)
            and face.recipe == evaluation.ORDINARY
        ):
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
        return list(
            dict.fromkeys(
                e for path, found in self._asked.items() if path.startswith("table2") for e in found
            )
        )

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
        """Return the snapshots that are asked for of a set before it is what it is, in order.

        There are some of sets of the main grid.
        """
        asked = self.config["condensation"]["snapshots"] or []
        if cell.finished not in self._main:
            return []
        return [cell.after(n) for n in sorted(asked) if n < self.iterations(cell)]

    def all_evaluations(self) -> list[Evaluation]:
        """Return the evaluations of all grids of the configuration, each once."""
        return list(dict.fromkeys(itertools.chain(*self._asked.values())))

    def condensation(self, cell: Cell) -> dict[str, Any]:
        """Return all settings with which the set of `cell` is made; a selection has none."""
        name, section = self.base(cell.method), self.config["condensation"]
        if name not in section:
            return {}
        face, point = methods.face(name), point_of(cell)
        place = {**point, "dataset": self.dataset(cell.dataset)["source"]}
        known = [(f"{name} {key}", told) for key, told in conditions.applying(face.where, place)]
        of_variant = [part for part in known if "method=" in part[0]]
        own = [part for part in known if part not in of_variant]
        for each in dict.fromkeys([name, cell.finished.method]):
            said = self._said.get(each) or {}  # not the defaults of all
            own.append((f"{each} said", {key: section[each][key] for key in said}))
            # What authors set for a variant: after what is said of its method, before overrides.
            own += [*(of_variant if each == name else ()), (each, {})]
        settings = self._settings(face.settings, own, point)
        return settings | (dict.fromkeys(face.grows, cell.snapshot) if cell.snapshot else {})

    def evaluation(self, cell: Cell, tested: Trained) -> dict[str, Any]:
        """Return all settings with which networks are trained on the set of `cell`.

        A known protocol comes first, then what the configuration says of the evaluation, of a
        protocol of its own, and of points of the grid.
        """
        told = self._own_protocols.get(tested.protocol, {})
        like = told.get("like", tested.protocol if not told else protocols.DEFAULT)
        point = point_of(cell, tested)
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
            point = point_of(cell, tested) | {"dataset": self.dataset(cell.dataset)["source"]}
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

    def imported(self, method: str) -> Mapping[str, Any]:
        """Return what the configuration says of the sets of others that it calls `method`."""
        told: Mapping[str, Any] = self.config["imported"][method]
        return told

    def _all_protocols(self) -> list[str]:
        return [*protocols.PROTOCOLS, *self._own_protocols]

    def reference(self, dataset: str, network: str) -> dict[str, Any]:
        """Return all settings of the network that herding, kcenter and forgetting look at."""
        own = [("reference_network", self.config["reference_network"])]
        point = point_of(Cell(dataset, "", network, "", 0))
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


def _grows(method: str) -> bool:
    """Whether there are snapshots of a method's sets."""
    return bool(methods.face(method).grows)
