"""What happens once, before Snakemake sees the rules: from a command line to a plan of jobs."""

import argparse
import atexit
import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dclib import methods
from dclib.data import sources
from dclib.errors import InputError, did_you_mean, one_line
from dclib.pipeline import documents, locks, paths, resources, settings
from dclib.pipeline.description import Files
from dclib.pipeline.grid import Grid
from dclib.pipeline.outputs import RULES, files
from dclib.pipeline.plan import Plan
from dclib.pipeline.staleness import CURRENT, MISSING, Hashes, Staleness, State

HASHES = Path(".snakemake/dclib/hashes.json")
CONFIG = "config.yaml"
SHOWN = 20  # of the results that are made again


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """End with one line on wrong input."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")


def check_command_line(given: argparse.Namespace) -> None:
    """Refuse what Snakemake would end in a traceback over, before it sees the Snakefile.

    Args:
        given: Snakemake's options.

    Raises:
        SystemExit: something is wrong, said in one line.
    """
    from snakemake.cli import parse_config

    more = "; the option takes every word up to the next option"
    with in_one_line():
        for path in given.configfile or []:
            try:
                path.open("rb").close()
            except OSError as error:
                raise InputError(
                    f"--configfile {path}: {error.strerror}; allowed are YAML files{more}"
                ) from error
            documents.read(path)
            try:  # as Snakemake does, which takes more for dates and numbers
                yaml.safe_load(path.read_bytes())
            except (ValueError, yaml.YAMLError) as error:
                raise InputError(f"{path} is not a config in YAML: {one_line(error)}") from error
        try:
            parse_config(given.config)
        except ValueError as error:
            raise InputError(
                f"--config {' '.join(given.config)}: {error} Allowed is KEY=VALUE{more}"
            ) from error


def plan(
    root: Path,
    overlays: Sequence[Path],
    more: Mapping[str, Any],
    look: bool = True,
    trusting: bool = False,
) -> tuple[Plan, Hashes]:
    """Return the plan of a configuration, and the digests of files that it was made with.

    Args:
        root: the folder of the project, whose config.yaml comes first.
        overlays: as given to --configfile.
        more: as given to --config.
        look: look at a user's own data; a job of a cluster takes on trust what was looked at when
            it was planned.
        trusting: see `Plan`.

    Raises:
        InputError: the first thing that is wrong, in one line.
    """
    if set(str(root)) & set("{}"):
        raise InputError(
            f"{root}: a path with braces has a meaning to Snakemake; rename the folder"
        )
    base = settings.load([root / CONFIG])
    config = settings.load([root / CONFIG, *overlays], more)
    grid = Grid(config, sources.look if look else None, base)
    results = paths.results_folder(grid.config["results_dir"], root)
    hashes = Hashes(HASHES)
    return Plan(grid, results, root, hashes.content, hashes.sha256, trusting), hashes


class Pipeline:
    """What the rules ask for. All methods that are given a rule return what Snakemake calls later.

    Args:
        workflow: Snakemake's.
        config: that of the Snakefile, which counts where another one uses it as a module; the main
            one's is read anew from its files.

    Raises:
        SystemExit: something is wrong, said in one line.
    """

    def __init__(self, workflow: Any, config: Mapping[str, Any]) -> None:
        self._workflow = workflow
        self._main: bool = workflow.is_main_process
        self._module: bool = not workflow.modifier.is_main_snakefile()
        root = paths.WORKFLOW
        # Scripts run in processes of their own, which find dclib through the first of these
        # variables and end with the process that the second one names.
        known = [str(root)] if (root / "dclib").is_dir() else []  # else it is installed
        known += filter(None, [os.environ.get("PYTHONPATH")])
        os.environ["DCLIB_SNAKEMAKE"] = locks.this_process()
        if known:
            os.environ["PYTHONPATH"] = os.pathsep.join(known)
        with in_one_line():
            if self._main and not os.access(".", os.W_OK):
                raise InputError(
                    f"{Path.cwd()}: cannot be written, and Snakemake keeps its notes in the folder "
                    "that it is called from; call it from another one, with -s PATH/Snakefile"
                )
            moved = workflow.modifier.path_modifier
            if moved.prefix or moved._prefix_replacements:
                raise InputError(
                    "a module that is given 'prefix' or 'replace_prefix': results have their place "
                    "by `results_dir` in its config"
                )
            given = workflow.config_settings
            overlays, more = ([], config) if self._module else (given.configfiles, given.config)
            self.plan, hashes = plan(root, overlays, more, self._main, not self._main)
        self.grid, self.results = self.plan.grid, self.plan.results
        self._hashes, self._told = hashes, 0
        if self._main:
            atexit.register(hashes.save)

    @functools.cached_property
    def _staleness(self) -> Staleness:
        """The states of all jobs, by which alone Snakemake is to decide.

        What it is asked to make again although nothing has changed is known once it looks for jobs.
        """
        from snakemake.settings.enums import RerunTrigger

        asked = self._workflow.dag_settings
        asked.rerun_triggers = frozenset({RerunTrigger.MTIME})
        self._workflow.dag.ignore_incomplete = True  # a record is written last
        again = [*(RULES if asked.forceall else asked.forcerun)]
        again += _targets() if asked.forcetargets else []
        return Staleness(self.plan, self._hashes, {*map(_as_planned, again)})

    def methods(self, kind: str) -> str:
        """Return the pattern of the methods of a kind, their variants included."""
        names = [name for name in methods.names() if methods.face(name).kind == kind]
        if kind == "imported":
            names = [*(self.grid.config["imported"] or ["(?!)"])]  # nothing
        return f"({'|'.join(names)})" + (
            r"(-[A-Za-z0-9]+)?(@[1-9][0-9]*)?" if kind == "learnt" else ""
        )

    def readers(self, wildcards: Any) -> int:
        """Return how many processes read the files of a data set: all cores if it is a user's."""
        own = "path" in self.grid.dataset(wildcards.dataset)
        return (os.cpu_count() or 1) if own else 1

    def files(self, rule: str) -> Files:
        """Return what the jobs of a rule write, with wildcards in the paths."""
        return files(rule, self.results)

    def job(self, rule: str) -> Callable[[Any], Any]:
        """Return what describes the job of a rule."""

        def of(wildcards: Any) -> Any:
            with in_one_line():
                return self.plan.job(rule, dict(wildcards))

        return of

    def inputs(self, rule: str) -> Callable[[Any], dict[str, list[str]]]:
        """Return what tells the inputs of the jobs of a rule.

        Snakemake has to make a job again if its result is not current, and else must not. So inputs
        of a current one are `ancient`, that is, their times do not count, and they are left out
        where they are to be made again themselves; what is not current is put among the files that
        Snakemake is to make anew.
        """
        from snakemake.io import ancient

        def of(wildcards: Any) -> dict[str, list[str]]:
            with in_one_line():
                job = self.plan.job(rule, dict(wildcards))
                if not self._main:
                    return {name: list(made) for name, made in job.inputs.items()}
                state = self._staleness.of(job)
                if state.name == CURRENT:
                    whole = {
                        path
                        for maker in self.plan.makers(job)
                        if self._staleness.of(maker).name == CURRENT
                        for path in maker.files.outputs.values()
                    }
                    return {
                        name: [ancient(path) for path in made if path in whole]
                        for name, made in job.inputs.items()
                    }
                if state.name != MISSING:
                    self._workflow.dag.forcefiles.update(job.files.outputs.values())
                    self._tell(job.files.record, state)
                return {name: list(made) for name, made in job.inputs.items()}

        return of

    def _tell(self, record: str, state: State) -> None:
        """Say that a result is made again, and why; of many, of the first ones."""
        if state.derived:
            return
        self._told += 1
        if self._told <= SHOWN:
            what = state.file or record.removesuffix("/run.json").removesuffix(".json")
            print(f"{what} is {state.name} and is made again: {state.why}", file=sys.stderr)
        elif self._told == SHOWN + 1:
            print("and more; `make status` shows all of them", file=sys.stderr)

    def cell_files(self) -> list[str]:
        """Return every file of every cell of the configuration.

        Prepared data, whitenings and reference networks, which only jobs read, are among them where
        they are there, so that damage is found. A job of a cluster, which makes one file, is spared
        the look at all others.
        """
        if not self._main:
            return []
        with in_one_line():
            return [
                path
                for job in self.plan.of_grid()
                for path in job.files.outputs.values()
                if job.rule not in ("prepare", "whiten", "reference_network") or Path(path).exists()
            ]

    def aggregate_files(self, *suffixes: str) -> list[str]:
        """Return the files of these kinds of the tables and figures that the config asks for."""
        if not self._main:
            return []
        with in_one_line():
            return [
                path
                for name in self.plan.aggregates()
                for path in self.plan.aggregate(name).files.outputs.values()
                if path.endswith(suffixes)
            ]

    def memory(self, rule: str, section: str) -> Callable[..., int]:
        """Return what tells the megabytes that a job asks for.

        Args:
            section: of the config's `resources`.
        """

        def of(wildcards: Any, attempt: int) -> int:
            fixed = self.grid.config["resources"][section]["mem_mb"]
            if fixed is not None:
                return int(fixed)
            with in_one_line():
                job = self.plan.job(rule, dict(wildcards))
                device = self.grid.config["execution"]["device"]
                return int(resources.predicted_mib(job, device) * 1.05) * attempt

        return of

    def runtime(self, section: str) -> Callable[..., int]:
        """Return what tells the minutes that a job asks for, which grow with every attempt."""

        def of(wildcards: Any, attempt: int) -> int:
            asked = self.grid.config["resources"]
            return min(asked[section]["runtime"] * attempt, asked["max_runtime"])

        return of

    def hold(self) -> None:
        """Let no other run work on the results until this process ends.

        What is asked to be made again is made from the start.
        """
        with in_one_line():
            locks.hold_run(self.results)
        for job in self._staleness.asked:
            for path in (job.files.kept, job.files.checkpoint, *job.earlier):
                Path(path).unlink(missing_ok=True)

    def check_targets(self) -> None:
        """Refuse a target that no rule makes, once all rules are known.

        Snakemake's own message says nothing of those that there are.
        """
        if not self._main or self._module:
            return
        rules = self._workflow.rules
        names = [rule.name for rule in rules if not rule.has_wildcards()]
        for target in _targets():
            path = _as_planned(target)
            if target not in names and not any(rule.is_producer(path) for rule in rules):
                sys.exit(
                    f"error: target '{target}' is not one of {', '.join(names)}, nor the path of a "
                    f"file that a rule makes under {self.results}/{did_you_mean(target, names)}"
                )


def _as_planned(target: str) -> str:
    """Return a path as those of the plan are written; the name of a rule is itself."""
    return target if Path(target).is_absolute() else os.path.relpath(target)


def _targets() -> list[str]:
    """The targets on Snakemake's command line, as they were written."""
    from snakemake.cli import get_argument_parser

    if "snakemake" not in sys.argv[0]:
        return []
    return [*get_argument_parser().parse_known_args()[0].targets]
