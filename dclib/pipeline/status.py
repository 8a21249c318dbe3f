"""How far a grid is: what is done, running, stale, missing or failed, from the files alone.

It needs no PyTorch and takes no lock, so that it answers at once, also while the grid is computed.
"""

import dataclasses
import functools
import os
import re
import textwrap
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from dclib import files
from dclib.errors import InputError
from dclib.pipeline.description import Job
from dclib.pipeline.plan import Plan
from dclib.pipeline.staleness import CURRENT, STALE, Staleness

STATES = ("done", "running", "stale", "missing", "failed")
SHOWN = 20  # of a list; the rest is counted
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ ([A-Z]+) (.*)$", re.MULTILINE)
# What the runner says every half a minute.
_FAR = re.compile(r"\biteration (\d+)/(\d+) .*?([\d.e+-]+) s each")


@dataclasses.dataclass(frozen=True)
class Report:
    """A job, its state, and what there is to say about it."""

    job: Job
    state: str
    detail: str = ""

    @functools.cached_property
    def seconds(self) -> float | None:
        """How long the job has computed, if it is finished."""
        try:
            return float(files.read_json(self.job.files.record)["seconds"])
        except (InputError, KeyError, TypeError, ValueError):
            return None

    @functools.cached_property
    def expected(self) -> tuple[float, float] | None:
        """The seconds that a running job takes in all, and those left, by its own account."""
        far = _FAR.search(self.detail) if self.state == "running" else None
        if far is None:
            return None
        done, steps, each = map(float, far.groups())
        return steps * each, (steps - done) * each

    @property
    def group(self) -> tuple[str, str, str]:
        """Data set, method and ipc; a reference network stands for itself."""
        cell = self.job.cell
        return cell["dataset"], cell.get("method", "reference"), cell.get("ipc", "all")


def survey(plan: Plan, staleness: Staleness, run_started: float | None) -> list[Report]:
    """Return the state of every reference network, set and evaluation of a plan.

    Args:
        run_started: since when a run is at work, or None (see `dclib.pipeline.locks.started`).
    """
    jobs = [job for job in plan.of_grid() if job.rule not in ("prepare", "whiten")]
    return [_look(job, staleness, run_started) for job in jobs]


def _look(job: Job, staleness: Staleness, run_started: float | None) -> Report:
    state = staleness.of(job)
    if state.name == CURRENT:
        return Report(job, "done")
    log, begun = _written(job.files.log), _written(job.files.checkpoint)
    absent = not all(map(os.path.exists, job.files.outputs.values()))
    if absent and log:
        last = _end(Path(job.files.log))
        records = _RECORD.findall(last)
        level, text = records[-1] if records else ("", "")
        if level == "ERROR":
            return Report(job, "failed", "\n".join(last.splitlines()[-3:]))
        if run_started is not None and max(log, begun) >= run_started:
            far = [told for _, told in records if _FAR.search(told)]
            return Report(job, "running", (far or [text])[-1])
        return Report(job, "missing", "goes on from its checkpoint" * bool(begun))
    if state.name == STALE:
        return Report(job, "stale", state.why)
    damaged = f"{Path(state.file).name} is damaged: {state.why}" if state.file else ""
    return Report(job, "missing", damaged)


def _written(path: str) -> float:
    """When a file was; 0 where there is none, or no more."""
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0


def _end(log: Path, size: int = 10000) -> str:
    """The last characters of a log, as far as it can be read."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - size))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def page(reports: Sequence[Report], began: float | None, width: int | None = None) -> str:
    """Return all that there is to see: the table, single files, and whether a run is at work.

    Args:
        began: since when, or None.
        width: of the terminal, in characters; None for no limit.
    """
    work = f"a run is at work, since {time.ctime(began)}" if began else "no run is at work"
    parts = [overview(reports, width), details(reports, width)]
    parts.append(f"\n{work}\n`left` is computing time, of one job after another")
    return "\n".join(filter(None, parts))


def summary(reports: Sequence[Report], began: float | None) -> dict[str, Any]:
    """Return the same as JSON holds it, job by job.

    Seconds left are computing time, of one job after another; null where nothing tells.
    """
    left = [_seconds_left(group) for group in _groups(reports).values()]
    return {
        "run_since": began,
        "counts": {state: _count(reports, state) for state in STATES},
        "seconds_left": None if None in left else sum(filter(None, left)),
        "jobs": [
            {
                "rule": report.job.rule,
                **report.job.cell,
                "state": report.state,
                "detail": report.detail,
                "seconds": report.seconds,
                "file": next(iter(report.job.files.outputs.values())),
                "log": report.job.files.log,
            }
            for report in reports
        ],
    }


def overview(reports: Sequence[Report], width: int | None = None) -> str:
    """Return a row for each data set, method and ipc: how many are in which state, what is left.

    States that nothing is in are left out and, as far as the rows are wider than `width`, how long
    one job takes, and how many are missing, which the others tell.
    """
    groups = _groups(reports)
    left = [_seconds_left(group) for group in groups.values()]
    groups["all", "", ""] = list(reports)
    left.append(None if None in left else sum(filter(None, left)))
    rows = []
    for (key, group), seconds in zip(groups.items(), left, strict=True):
        sets, evaluations = _by_kind(group)
        counts = Counter(report.state for report in group)
        rows.append(
            [
                *key,
                *(
                    f"{_count(kind, 'done')}/{len(kind)}" if kind else ""
                    for kind in (sets, evaluations)
                ),
                *(counts[state] or "" for state in STATES[1:]),
                *(
                    _duration(_mean(kind)) if key[1] and kind else ""
                    for kind in (sets, evaluations)
                ),
                "" if counts["done"] == len(group) else _duration(seconds),
            ]
        )
    headers = [
        "data set", "method", "ipc", "sets", "tested", *STATES[1:], "a set",
        "a test", "left",
    ]  # fmt: skip
    idle = {state for state in STATES[1:] if not any(report.state == state for report in reports)}
    spare = ("a test", "a set", "missing")
    for number in range(len(spare) + 1):
        out = idle.union(spare[:number])
        kept = [i for i, name in enumerate(headers) if name not in out]
        underlines = ["-" * len(name) for name in headers]
        table: list[list[Any]] = [headers, underlines, *rows]  # as heads, they would be padded
        text = tabulate(
            [[row[i] for i in kept] for row in table],
            tablefmt="plain",
            disable_numparse=True,
            colalign=("left", "left", *["right"] * (len(kept) - 2)),
        )
        if width is None or max(map(len, text.splitlines())) <= width:
            break
    return text


def details(reports: Sequence[Report], width: int | None = None) -> str:
    """Return what is failed, running or stale, and what there is to say about what is missing."""
    lines = []
    for state in ("failed", "running", "stale", "missing"):
        told = [r for r in reports if r.state == state and (r.detail or state != "missing")]
        lines += [f"\n{state}:"] if told else []
        for report in told[:SHOWN]:
            shown = next(iter(report.job.files.outputs.values()))
            shown = report.job.files.log if state == "failed" else shown
            lines.append(f"  {shown}")
            for line in report.detail.splitlines():
                parts = [line] if width is None else textwrap.wrap(line, max(20, width - 6))
                lines += [f"      {part}" for part in parts]
        lines += [f"  and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return "\n".join(lines)


def _groups(reports: Iterable[Report]) -> dict[tuple[str, ...], list[Report]]:
    groups: dict[tuple[str, ...], list[Report]] = {}
    for report in reports:
        groups.setdefault(report.group, []).append(report)
    return groups


def _by_kind(reports: Iterable[Report]) -> tuple[list[Report], list[Report]]:
    """Sets, and evaluations."""
    kinds: tuple[list[Report], list[Report]] = ([], [])
    for report in reports:
        kinds[report.job.rule == "evaluate"].append(report)
    return kinds


def _count(reports: Iterable[Report], state: str) -> int:
    return sum(report.state == state for report in reports)


def _mean(reports: Iterable[Report]) -> float | None:
    """Seconds of those that are finished."""
    known = [r.seconds for r in reports if r.state in ("done", "stale")]
    seconds = [value for value in known if value is not None]
    return sum(seconds) / len(seconds) if seconds else None


def _seconds_left(reports: Iterable[Report]) -> float | None:
    """Computing time of what is not done, if it takes as long as what is like it; None: unknown.

    What is running tells by itself, and of the others where none like them is finished.
    """
    total = 0.0
    for kind in _by_kind(reports):
        told = [report.expected for report in kind if report.expected]
        own, left = map(sum, zip(*told, strict=True)) if told else (0.0, 0.0)
        mean = _mean(kind) or (own / len(told) if told else None)
        waiting = len(kind) - _count(kind, "done") - len(told)
        if waiting and mean is None:
            return None
        total += left + waiting * (mean or 0.0)
    return total


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
