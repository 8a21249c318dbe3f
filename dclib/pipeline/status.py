"""How far a grid is: what is done, running, stale, missing or failed, from the files alone.

It needs no PyTorch and takes no lock, so that it answers at once, also while the grid is computed.
"""

import base64
import dataclasses
import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import safetensors
from tabulate import tabulate

from dclib.errors import InputError
from dclib.pipeline import integrity
from dclib.pipeline.grid import Cell

STATES = ("done", "running", "stale", "missing", "failed")
SHOWN = 20  # of a list; the rest is counted
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ ([A-Z]+) (.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Part:
    """What one job makes: a reference network, the set of a cell, or an evaluation of that.

    Attributes:
        tested: the network that the set is evaluated on; None for what is no evaluation.
        outputs: all files; the first one tells by itself whether it is whole.
        log, checkpoint: what else the job writes.
        params: settings and code, as Snakemake has noted them if they are still the same.
        source: the set that an evaluation is made from, or the network that a selection looks at.
    """

    cell: Cell
    tested: str | None
    outputs: tuple[Path, ...]
    log: Path
    checkpoint: Path
    params: tuple[Any, ...]
    source: Path | None = None

    @functools.cached_property
    def seconds(self) -> float | None:
        """How long the job has computed, if it is finished."""
        try:
            if self.tested is None:
                return float(self._record()["seconds"])
            header, *rows = (line.split(",") for line in self.outputs[0].read_text().splitlines())
            column = header.index("seconds")
            return sum(float(row[column]) for row in rows)
        except (OSError, ValueError, KeyError, IndexError):
            return None

    def _record(self) -> dict[str, Any]:
        """What the job has noted of a set, or of a reference network."""
        for path in self.outputs:
            if path.name == "run.json":
                return json.loads(path.read_text())
        with safetensors.safe_open(self.outputs[0], framework="numpy") as opened:
            return json.loads(opened.metadata()["json"])


@dataclasses.dataclass(frozen=True)
class Report:
    """A part, its state, and what there is to say about it."""

    part: Part
    state: str
    detail: str = ""


def survey(parts: Iterable[Part], metadata: Path, run_started: float | None) -> list[Report]:
    """Return the state of every part, which come after those that they are made from.

    Args:
        metadata: the folder in which Snakemake notes what every file was made with.
        run_started: since when a run is at work, or None (see `dclib.pipeline.locks.started`).
    """
    reports: list[Report] = []
    states: dict[Path | None, str] = {}
    for part in parts:
        report = _look(part, metadata, run_started)
        of_source = states.get(part.source, "done")
        if report.state == "done" and of_source != "done":
            made_from = "set" if part.tested else "reference network"
            report = Report(part, "stale", f"its {made_from}: {of_source}")
        states[part.outputs[0]] = report.state
        reports.append(report)
    return reports


def _look(part: Part, metadata: Path, run_started: float | None) -> Report:
    if all(path.exists() for path in part.outputs):
        checked = part.outputs if part.tested else part.outputs[:1]
        for path in checked:
            try:
                damage = integrity.damage(path)
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror})") from error
            if damage:
                return Report(part, "missing", f"{path.name} is damaged: {damage}")
        return Report(part, "stale" if _is_stale(part, metadata) else "done")
    try:
        records, written = _records(part.log), part.log.stat().st_mtime
    except FileNotFoundError:
        return Report(part, "missing")
    level, text = records[-1] if records else ("", "")
    if level == "ERROR":
        return Report(part, "failed", "\n".join(part.log.read_text().splitlines()[-3:]))
    if part.checkpoint.exists():
        written = max(written, part.checkpoint.stat().st_mtime)
    if run_started is not None and written >= run_started:
        return Report(part, "running", text)
    return Report(part, "missing", "goes on from its checkpoint" * part.checkpoint.exists())


def _is_stale(part: Part, metadata: Path) -> bool:
    """Whether Snakemake has noted other parameters, or another set, than there are now."""
    name = base64.urlsafe_b64encode(str(part.outputs[0]).encode()).decode()
    chunks = [name[i : i + 254] for i in range(0, len(name), 254)]
    record = metadata.joinpath(*(f"@{chunk}" for chunk in chunks[:-1]), chunks[-1])
    try:
        noted = json.loads(record.read_text())
    except (OSError, ValueError):
        return False  # Snakemake takes it as it is, too
    if not set(map(repr, part.params)) <= set(noted["params"]):
        return True
    source, rows = part.source, part.outputs[0]
    if source is None or not source.exists() or source.stat().st_mtime <= rows.stat().st_mtime:
        return False
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return noted["input_checksums"].get(str(source)) != f"sha256:{digest}"


def _records(log: Path, size: int = 10000) -> list[tuple[str, str]]:
    """The level and the text of the last records of a log."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - size))
        return _RECORD.findall(stream.read().decode(errors="replace"))


def overview(reports: Sequence[Report]) -> str:
    """Return a row for each data set, method and ipc: how many are in which state, what is left."""
    groups: dict[tuple[str, ...], list[Report]] = {}
    for report in reports:
        cell = report.part.cell
        groups.setdefault((cell.dataset, cell.method, cell.ipc), []).append(report)
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
                    f"{_count(kind, 'done')} of {len(kind)}" if kind else ""
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
        "data set", "method", "ipc", "sets", "evaluations", *STATES[1:], "a set",
        "an evaluation", "left",
    ]  # fmt: skip
    align = ("left", "left", *["right"] * (len(headers) - 2))
    return tabulate(rows, headers, disable_numparse=True, colalign=align)


def details(reports: Sequence[Report]) -> str:
    """Return what is failed, running or stale, and what there is to say about what is missing."""
    lines = []
    for state in ("failed", "running", "stale", "missing"):
        told = [r for r in reports if r.state == state and (r.detail or state != "missing")]
        lines += [f"\n{state}:"] if told else []
        for report in told[:SHOWN]:
            shown = report.part.log if state == "failed" else report.part.outputs[0]
            lines.append(f"  {shown}")
            lines += [f"      {line}" for line in report.detail.splitlines()]
        lines += [f"  and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return "\n".join(lines)


def _by_kind(reports: Iterable[Report]) -> tuple[list[Report], list[Report]]:
    """Sets, and evaluations."""
    kinds: tuple[list[Report], list[Report]] = ([], [])
    for report in reports:
        kinds[report.part.tested is not None].append(report)
    return kinds


def _count(reports: Iterable[Report], state: str) -> int:
    return sum(report.state == state for report in reports)


def _mean(reports: Iterable[Report]) -> float | None:
    """Seconds of those that are finished."""
    known = [r.part.seconds for r in reports if r.state in ("done", "stale")]
    seconds = [value for value in known if value is not None]
    return sum(seconds) / len(seconds) if seconds else None


def _seconds_left(reports: Iterable[Report]) -> float | None:
    """Computing time of what is not done, if it takes as long as what is like it; None: unknown."""
    total = 0.0
    for kind in _by_kind(reports):
        waiting, mean = len(kind) - _count(kind, "done"), _mean(kind)
        if waiting and mean is None:
            return None
        total += waiting * (mean or 0.0)
    return total


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.1f} h"
