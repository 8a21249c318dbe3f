"""What every job makes, of what and with which settings: told once.

The rules, the question whether a result is stale, `make status` and the job itself read the same
description.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dclib import codebase, methods, provenance
from dclib.applications.evaluation import settings as evaluation
from dclib.data import sources
from dclib.data.sources.settings import Options, relevant
from dclib.errors import InputError
from dclib.files import read_json
from dclib.methods.imported import places
from dclib.methods.imported import settings as imported
from dclib.pipeline.description import BEFORE, MADE_FROM, Job
from dclib.pipeline.grid import Grid
from dclib.pipeline.outputs import AGGREGATES, TESTED, WILDCARDS, files
from dclib.pipeline.paths import Cell, Trained
from dclib.teachers.reference import settings as reference


class Plan:
    """All jobs of a configuration, and any other that has a meaning with it.

    Args:
        grid: the configuration.
        results: the folder of all results, as paths begin with it.
        root: the folder of the project.
        content: what tells a digest of the files that reading a data set takes, from its options.
        sha256: what tells the digest of a file's bytes.
        trusting: original files are as the records of what was made of them say; they need not be
            where other jobs run.
    """

    def __init__(
        self,
        grid: Grid,
        results: str,
        root: Path,
        content: Callable[[Mapping[str, Any]], str],
        sha256: Callable[[str | Path], str],
        trusting: bool = False,
    ) -> None:
        self.grid, self.results, self._root, self._trusting = grid, results, root, trusting
        self._content, self._sha256 = content, sha256
        self._known: dict[tuple[Any, ...], Job] = {}
        self._makers: dict[str, tuple[Job, ...]] = {}

    def job(self, rule: str, wildcards: Mapping[str, str]) -> Job:
        """Return the job of a rule that these wildcards name.

        Raises:
            InputError: there can be none.
        """
        if rule in AGGREGATES:
            if not AGGREGATES[rule].evaluations(self.grid):
                raise InputError(
                    f"target '{rule}': the config asks for nothing that would be in it; allowed is "
                    f"one of {', '.join(self.aggregates())}"
                )
            return self.aggregate(rule)
        if rule == "prepare":
            return self.prepare(wildcards["dataset"])
        if rule == "whiten":
            return self.whiten(wildcards["dataset"])
        if rule == "reference_network":
            return self.reference(wildcards["dataset"], wildcards["network"])
        *names, seed = (wildcards[name] for name in Cell._fields)
        cell = Cell._make((*names, int(seed)))
        stem = wildcards.get(TESTED[1:-1])
        tested = None if stem is None else Trained.of(stem)
        if tested and tested.stem != stem:
            raise InputError(f"target: files of '{stem}' are called '{tested.stem}'")
        self.grid.check(cell, tested)
        if rule == "export":
            return self.export(cell)
        return self.set(cell) if tested is None else self.evaluate(cell, tested)

    def makers(self, job: Job) -> tuple[Job, ...]:
        """Return the jobs that make the inputs of a job of this plan."""
        return self._makers[job.files.record]

    def prepare(self, dataset: str) -> Job:
        """Return the job that reads a data set from its original files."""
        options = self.grid.dataset(dataset)
        record = files("prepare", self.results, WILDCARDS._replace(dataset=dataset)).record
        return self._once(
            ("prepare", dataset),
            lambda: self._job(
                "prepare",
                {"dataset": dataset},
                relevant(Options(**options)),
                ("dclib.data.sources", sources.module_name(options["source"])),
                data=self._as_told(record) or self._content(options),
            ),
        )

    def whiten(self, dataset: str) -> Job:
        """Return the job that fits what whitens the images of a data set."""
        return self._once(
            ("whiten", dataset),
            lambda: self._job(
                "whiten", {"dataset": dataset}, {}, ("dclib.data.whitening",), dataset=dataset
            ),
        )

    def reference(self, dataset: str, network: str) -> Job:
        """Return the job that trains the network which selections of real images look at."""

        def describe() -> tuple[Job, tuple[Job, ...]]:
            settings = reference.Settings(**self.grid.reference(dataset, network))
            modules = ("dclib.runner", "dclib.teachers.reference.teacher")
            return self._job(
                "reference_network",
                {"dataset": dataset, "network": network},
                dataclasses.asdict(settings),
                modules,
                dataset=dataset,
            )

        return self._once(("reference", dataset, network), describe)

    def set(self, cell: Cell) -> Job:
        """Return the job that makes the set of a cell: by learning it, or by selecting images."""

        def describe() -> tuple[Job, tuple[Job, ...]]:
            name = self.grid.base(cell.method)
            face = methods.face(name)
            if face.kind == "imported":
                return self._imported(cell)
            before = [self.set(earlier) for earlier in self.grid.before(cell)] if face.grows else []
            return self._job(
                "condense" if face.kind == "learnt" else "select",
                cell._asdict(),
                self.grid.relevant(cell),
                ("dclib.runner", f"dclib.methods.{name}.settings", f"dclib.methods.{name}.method"),
                dataset=cell.dataset,
                made={
                    teacher: (self.reference(cell.dataset, cell.network),)
                    for teacher in face.teachers
                }
                | ({BEFORE: (before[-1],)} if before else {}),
                method=name,
                grows=face.grows,
                earlier=tuple(job.files.kept for job in reversed(before)),
            )

        return self._once(("set", cell), describe)

    def _imported(self, cell: Cell) -> tuple[Job, tuple[Job, ...]]:
        """Describe the job that brings somebody's set to the form of all sets."""
        settings = imported.Settings(**self.grid.imported(cell.method))
        place = settings.file
        for axis, value in cell._asdict().items():
            place = place.replace(f"{{{axis}}}", str(value))
        source, key = Path(place).expanduser(), f"config key 'imported.{cell.method}.file'"
        data = self._as_told(files("import_set", self.results, cell).record)
        if not data and not source.exists():
            raise InputError(f"{key}: {place}: no such file or folder")
        try:
            there = () if data else places.files_of(source)
            content = [(name, self._sha256(path)) for name, path in there]
        except OSError as error:
            raise InputError(
                f"{key}: {error.filename}: cannot be read ({error.strerror})"
            ) from error
        told = dataclasses.asdict(settings)
        idle = ("file", "experiments", "protocol")
        return self._job(
            "import_set",
            cell._asdict(),
            {name: value for name, value in told.items() if name not in idle}
            | {"experiment": cell.seed if settings.experiments else 0},
            ("dclib.methods.imported.settings", "dclib.methods.imported.method")
            + (("dclib.data.whitening",) if told["space"] == "whitened" else ()),
            dataset=cell.dataset,
            made={"whitening": (self.whiten(cell.dataset),)} if told["space"] == "whitened" else {},
            data=data,
            besides=provenance.digest(content),
            method="imported",
            source=str(source),
        )

    def export(self, cell: Cell) -> Job:
        """Return the job that writes the set of a cell for other people's code."""
        return self._once(
            ("export", cell),
            lambda: self._job(
                "export",
                cell._asdict(),
                {},
                ("dclib.data.exports",),
                made={"set": (self.set(cell),)},
            ),
        )

    def evaluate(self, cell: Cell, tested: Trained) -> Job:
        """Return the job that trains networks on the set of a cell, or on the whole split."""

        def describe() -> tuple[Job, tuple[Job, ...]]:
            face = methods.face(self.grid.base(cell.method))
            settings = evaluation.Settings(**self.grid.evaluation(cell, tested))
            recipe = evaluation.recipe_of(settings, face.recipe)
            modules = [
                "dclib.runner",
                "dclib.applications.evaluation.evaluate",
                f"dclib.training.recipes.{recipe}",
            ]
            if settings.augmentation:
                modules.append(f"dclib.training.augmentation.{settings.augmentation_way}")
            made = {} if face.kind == "whole" else {"set": (self.set(cell),)}
            if settings.space == "whitened":
                made["whitening"] = (self.whiten(cell.dataset),)
                modules.append("dclib.data.whitening")
            if recipe == evaluation.ORDINARY and settings.labels == "teacher":
                made["reference"] = (self.reference(cell.dataset, tested.network),)
                modules.append("dclib.teachers.reference.teacher")
            return self._job(
                "evaluate",
                {**cell._asdict(), "tested": tested.network, "protocol": tested.protocol},
                self.grid.relevant(cell, tested),
                tuple(modules),
                dataset=cell.dataset,
                made=made,
                tested=tested.stem,
                grows=evaluation.GROWS,
                factor=made["set"][0].settings.get("factor", 1) if "set" in made else 1,
            )

        return self._once(("evaluate", cell, tested), describe)

    def aggregate(self, name: str) -> Job:
        """Return the job that draws up a table, a figure or the page."""

        def describe() -> tuple[Job, tuple[Job, ...]]:
            described = AGGREGATES[name]
            evaluations = described.evaluations(self.grid)
            cells = dict.fromkeys(cell for cell, _ in evaluations if cell.ipc != "all")
            jobs = [*map(self.set, cells), *(self.evaluate(*each) for each in evaluations)]
            if described.gathers:
                jobs += [self.aggregate(each) for each in self.aggregates() if each != name]
            made = {
                what: tuple(job for job in jobs if what in job.files.outputs)
                for what in described.reads
            }
            return self._job(
                name,
                {},
                described.settings(self.grid),
                (described.make.partition(":")[0],),
                data_sets=dict.fromkeys(cell.dataset for cell, _ in evaluations),
                made=made,
            )

        return self._once(("aggregate", name), describe)

    def of_grid(self) -> Iterator[Job]:
        """Yield the jobs of all cells of the configuration, each after those that it reads from."""
        seen: set[str] = set()
        for cell, tested in self.grid.all_evaluations():
            job = self.evaluate(cell, tested)
            for each in (*self._sources(job), job):
                if each.files.record not in seen:
                    seen.add(each.files.record)
                    yield each

    def aggregates(self) -> list[str]:
        """Return the names of the tables and figures that the configuration has something for."""
        return [name for name, each in AGGREGATES.items() if each.evaluations(self.grid)]

    def _sources(self, job: Job) -> Iterator[Job]:
        for maker in self.makers(job):
            yield from self._sources(maker)
            yield maker

    def _as_told(self, record: str) -> str:
        """Return the digest of what a result was made of, if its record is to be believed."""
        if not self._trusting:
            return ""
        try:
            return str(read_json(record)[MADE_FROM]["data"])
        except (InputError, KeyError, TypeError):  # it is not made yet
            return ""

    def _once(
        self, key: tuple[Any, ...], describe: Callable[[], tuple[Job, tuple[Job, ...]]]
    ) -> Job:
        if key not in self._known:
            job, makers = describe()
            self._known[key], self._makers[job.files.record] = job, makers
        return self._known[key]

    def _job(
        self,
        rule: str,
        cell: Mapping[str, Any],
        settings: Mapping[str, Any],
        modules: tuple[str, ...],
        *,
        dataset: str = "",
        data_sets: Iterable[str] = (),
        made: Mapping[str, tuple[Job, ...]] | None = None,
        data: str = "",
        besides: str = "",
        tested: str = TESTED,
        method: str = "",
        source: str = "",
        grows: tuple[str, ...] = (),
        earlier: tuple[str, ...] = (),
        factor: int = 1,
    ) -> tuple[Job, tuple[Job, ...]]:
        """Describe a job, and name those that make what it reads.

        Args:
            dataset, data_sets: whose prepared files it reads.
            made: by the output of theirs that is read, other jobs that it reads from.
            data: the digest of what is read, if that is known.
            besides: the digest of what is read beside that.
            method, source, grows, earlier, factor: see `Job`.
        """
        prepared = tuple(self.prepare(name) for name in (dataset, *data_sets) if name)
        outputs = {"reference": "network", BEFORE: "set"}
        inputs = {"data": tuple(each.files.outputs["data"] for each in prepared)}
        for name, jobs in (made or {}).items():
            inputs[name] = tuple(job.files.outputs[outputs.get(name, name)] for job in jobs)
        digests = [provenance.digest(e.settings, e.data, e.code) for e in prepared]
        digests += [besides] if besides else []
        script = f"{'aggregate' if rule in AGGREGATES else rule}.py"
        place = WILDCARDS._replace(**{key: cell[key] for key in Cell._fields if key in cell})
        code = (self._root / "workflow_scripts" / script, *modules)
        job = Job(
            rule,
            dict(cell),
            json.loads(json.dumps(settings)),
            data or (digests[0] if len(digests) == 1 else provenance.digest(digests)),
            codebase.digest(*code),
            codebase.files_of(*code),
            script,
            modules,
            {name: paths for name, paths in inputs.items() if paths},
            files(rule, self.results, place, tested),
            method,
            source,
            grows,
            earlier,
            factor,
        )
        return job, (*prepared, *(each for jobs in (made or {}).values() for each in jobs))
