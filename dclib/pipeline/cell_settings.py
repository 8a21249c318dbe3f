"""From a valid configuration to the settings of each of its cells."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from dclib import conditions, methods
from dclib.applications.evaluation import protocols
from dclib.applications.evaluation import settings as evaluation
from dclib.errors import InputError, did_you_mean
from dclib.networks import names as networks
from dclib.pipeline import faults, overrides
from dclib.pipeline.expansion import Evaluation, base, point_of
from dclib.pipeline.paths import Cell, Trained
from dclib.teachers.reference import settings as reference

# How many networks there are, and how and when they are tested: no part of a protocol.
FREE = {"models", "curve_points", "precision"}


class CellSettings:
    """What a configuration says of each cell: defaults, its sections, its overrides.

    Attributes:
        config: with all keys as text and all defaults.
    """

    config: Mapping[str, Any]

    def __init__(
        self,
        config: Mapping[str, Any],
        said: Mapping[str, Any],
        known: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Read the overrides.

        Args:
            config: as `dclib.pipeline.settings.parse` returns it.
            said: its section `condensation` as it was written, without defaults.
            known: the options of every data set, by name.

        Raises:
            InputError: an override cannot be read, or a protocol is called as a known one.
        """
        self.config, self._said, self._known = config, said, known
        self._own_protocols = faults.own_protocols(config)
        self._overrides = overrides.read(config["overrides"] or {})
        self._resolved: dict[Any, dict[str, Any]] = {}

    @property
    def known_protocols(self) -> list[str]:
        """The names of all protocols: the known ones, then those of this configuration."""
        return [*protocols.PROTOCOLS, *self._own_protocols]

    def base(self, method: str) -> str:
        """Return the folder in `dclib.methods` of a method of this configuration."""
        return base(method, self.config["imported"] or ())

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

    def imported(self, method: str) -> Mapping[str, Any]:
        """Return what the configuration says of the sets of others that it calls `method`."""
        told: Mapping[str, Any] = self.config["imported"][method]
        return told

    def iterations(self, cell: Cell) -> int:
        """Return after how many iterations the set of a cell is as it is; 0 if it has none."""
        grows = methods.face(self.base(cell.method)).grows
        return int(self.condensation(cell)[grows[0]]) if grows else 0

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

    def relevant(self, cell: Cell, tested: Trained | None = None) -> dict[str, Any]:
        """Return the settings that can touch the set of `cell`, or else networks trained on it."""
        face = methods.face(self.base(cell.method))
        if tested:
            own = evaluation.Settings(**self.evaluation(cell, tested))
            return evaluation.relevant(own, face.recipe)
        made = face.settings(**self.condensation(cell))
        return face.relevant(made, networks.parse(cell.network), int(cell.ipc))

    def changed(self, evaluations: Iterable[Evaluation]) -> dict[str, list[str]]:
        """Return which settings of known protocols this configuration changes, by protocol."""
        found = dict[str, set[str]]()
        for cell, tested in evaluations:
            if tested.protocol in self._own_protocols:
                continue
            point = point_of(cell, tested) | {"dataset": self.dataset(cell.dataset)["source"]}
            parts = [*protocols.parts(tested.protocol, point)]
            usual = self._settings(evaluation.Settings, parts, point)
            own, wanted = self.evaluation(cell, tested), self.relevant(cell, tested)
            names = {name for name in wanted if own[name] != usual[name]} - FREE
            found.setdefault(tested.protocol, set()).update(names)
        return {name: sorted(changes) for name, changes in found.items() if changes}

    def reference(self, dataset: str, network: str) -> dict[str, Any]:
        """Return all settings of the network that herding, kcenter and forgetting look at."""
        own = [("reference_network", self.config["reference_network"])]
        point = point_of(Cell(dataset, "", network, "", 0))
        return self._settings(reference.Settings, own, point)

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
