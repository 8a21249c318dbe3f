"""From a configuration to the cells of the grid, and what is wrong with one of them.

It takes a mapping that somebody else has read, and needs no PyTorch, so that it costs a pipeline
nothing to ask it.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dclib import conditions, methods
from dclib.applications.evaluation import protocols
from dclib.applications.evaluation import settings as evaluation
from dclib.data import checks, sources
from dclib.data.checks import Facts
from dclib.errors import InputError, did_you_mean
from dclib.networks import names as networks
from dclib.pipeline import expansion, faults
from dclib.pipeline import settings as configuration
from dclib.pipeline.cell_settings import CellSettings
from dclib.pipeline.expansion import WHOLE, Evaluation, key_of, options_of
from dclib.pipeline.paths import Cell, Trained


class Grid(CellSettings):
    """A valid configuration: which cells it has, and the settings of each.

    Args:
        config: see docs/settings.md.
        look: what tells the facts of a data set, as `dclib.data.sources.look`; None to take a
            user's own data sets on trust, without a look at their files.
        base: the configuration that `config` is an overlay on. Overrides that stand in both are
            meant for its grid.

    Raises:
        InputError: a key, value or type is wrong, or two of them contradict each other.

    Attributes:
        facts: of every data set that has been looked at, by name.
    """

    facts: Mapping[str, Facts]

    def __init__(
        self,
        config: Mapping[str, Any],
        look: Callable[[Mapping[str, Any]], Facts] | None = None,
        base: Mapping[str, Any] | None = None,
    ) -> None:
        parsed = configuration.parse(config)
        sections = expansion.sections(parsed)
        said = configuration.with_text_keys(config).get("condensation") or {}
        super().__init__(parsed, said, faults.data_sets(sections))
        faults.refuse_unknown_methods(self.config, sections, self.known_protocols)
        faults.refuse_two_names_of_one(self.config, sections, self._known)
        public = sources.without_path()
        self.facts = {
            name: (look or sources.look)(options)
            for name, options in self._known.items()
            if look or options["source"] in public
        }
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
        by_seed = any("seed" in override.conditions for override in self._overrides)
        for cell, tested in dict.fromkeys(
            (c if by_seed else c._replace(seed=0), t)
            for c, t in itertools.chain(*self._asked.values())
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

    @property
    def datasets(self) -> list[str]:
        """The names of the data sets of the main grid."""
        return [options_of(entry)["name"] for entry in self.config["datasets"]]

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
        known = self.known_protocols
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

    def expected_models(self, evaluations: Sequence[Evaluation]) -> dict[str, int]:
        """Return how many networks are trained, by `key_of`."""
        counts: dict[str, int] = {}
        for cell, tested in evaluations:
            key = key_of(cell, tested)
            counts[key] = counts.get(key, 0) + self.evaluation(cell, tested)["models"]
        return counts

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


def _grows(method: str) -> bool:
    """Whether there are snapshots of a method's sets."""
    return bool(methods.face(method).grows)
