"""Whether a result is what the configuration asks for, told from the result itself.

Every job leaves a record beside its outputs: what it was made from (settings, code, data and the
bytes of what other jobs had made) and the digests of its outputs' bytes. That alone decides,
whatever the time stamps and Snakemake's own notes say.
"""

import contextlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dclib import files, provenance
from dclib.data import sources
from dclib.errors import InputError
from dclib.pipeline import integrity
from dclib.pipeline.description import BEFORE, DIGESTS, MADE_FROM, Job
from dclib.pipeline.plan import Plan

CURRENT, MISSING, STALE, DAMAGED = "current", "missing", "stale", "damaged"
SHOWN = 3  # of the settings that differ


class State(NamedTuple):
    """One of the names above, and why.

    Attributes:
        derived: what the result is made from is to blame.
        file: the one that is damaged.
    """

    name: str
    why: str = ""
    derived: bool = False
    file: str = ""


class Hashes:
    """The digests of files' bytes, each taken once and remembered by what changes with the bytes.

    Args:
        path: where they are remembered from one call to the next; nothing is lost with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, list[Any]] = {}
        self._changed = False
        with contextlib.suppress(InputError):
            self._known = files.read_json(path)

    def sha256(self, path: str | Path) -> str:
        """Return the SHA-256 of a file's bytes.

        Raises:
            OSError: it cannot be read.
        """
        found = Path(path).stat()
        # The last one changes with every change of the bytes, and nobody can set it.
        mark = [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]
        place = str(Path(path).absolute())
        known = self._known.get(place)
        if isinstance(known, list) and known[:-1] == mark:
            return str(known[-1])
        digest = files.sha256(path)
        self._known[place], self._changed = [*mark, digest], True
        return digest

    def content(self, options: Mapping[str, Any]) -> str:
        """Return a digest of the files that reading a data set takes; empty where it has none.

        Raises:
            InputError: one cannot be read.
        """
        try:
            found = [(name, self.sha256(path)) for name, path in sources.content(options)]
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
        return provenance.digest(found) if found else ""

    def save(self) -> None:
        """Remember them for the next call, if there is a place for it."""
        if self._changed:
            self._changed = False
            with contextlib.suppress(InputError):
                files.write_text(self._path, json.dumps(self._known))


class Staleness:
    """The states of the jobs of a plan.

    Args:
        again: rules, or paths of outputs, that shall be made again although nothing has changed.

    Attributes:
        asked: the jobs that were looked at and shall be made again for this reason.
    """

    def __init__(self, plan: Plan, hashes: Hashes, again: Collection[str] = ()) -> None:
        self._plan, self._hashes, self._again = plan, hashes, frozenset(again)
        self._states: dict[str, State] = {}
        self.asked: list[Job] = []

    def of(self, job: Job) -> State:
        """Return the state of a job, which is current only if those that it reads from are."""
        key = job.files.record
        if key not in self._states:
            self._states[key] = state = self._look(job)
            if state.name != CURRENT:
                _refuse_if_of_somebody(job)
        return self._states[key]

    def _look(self, job: Job) -> State:
        missing = [path for path in job.files.outputs.values() if not Path(path).exists()]
        if job.files.record in missing and len(missing) < len(job.files.outputs):
            return State(
                STALE, "nothing beside it says what it was made from, as of a version before 0.2"
            )
        asked = job.rule in self._again or not self._again.isdisjoint(job.files.outputs.values())
        if asked:
            self.asked.append(job)
        there = [name for name, path in job.files.outputs.items() if path not in missing]
        if job.files.outputs.get("set") in missing or there in ([], ["record"]):
            return State(MISSING)
        if missing:  # which Snakemake does not see where nobody asks for it
            names = ", ".join(Path(path).name for path in missing)
            return State(STALE, f"{names} of it {'are' if len(missing) > 1 else 'is'} missing")
        if asked:
            return State(STALE, "it is asked to be made again")
        try:
            record = files.read_json(job.files.record)
        except InputError as error:
            why = str(error).removeprefix(f"{job.files.record}: ")
            return State(DAMAGED, why, file=job.files.record)
        mark, digests = record.get(MADE_FROM), record.get(DIGESTS)
        if not isinstance(mark, dict) or not isinstance(digests, dict):
            return State(STALE, "its record does not say what it was made from")
        if why := differences(mark, job.mark):
            return State(STALE, why)
        for name, path in job.files.outputs.items():
            if name != "record" and self._sha256(path) != digests.get(name):
                known = integrity.damage(path) if path.endswith((".safetensors", ".csv")) else None
                why = known or "its bytes are not those that were written"
                return State(DAMAGED, why, file=path)
        return self._by_inputs(job, mark)

    def _by_inputs(self, job: Job, mark: Mapping[str, Any]) -> State:
        """Compare what the job reads from others; a data set is known by its digest instead."""
        waited = job.inputs.get(BEFORE, ())
        makers = [
            maker
            for maker in self._plan.makers(job)
            if maker.rule != "prepare" and maker.files.outputs.get("set") not in waited
        ]
        waiting = [(maker, self.of(maker)) for maker in makers]
        waiting = [(maker, state) for maker, state in waiting if state.name != CURRENT]
        if waiting:
            kind = {
                "select": "set",
                "condense": "set",
                "import_set": "set",
                "reference_network": "reference network",
                "whiten": "whitening",
            }
            maker, state = waiting[0]
            more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
            why = f"its {kind.get(maker.rule, 'evaluation')}: {state.name}{more}"
            return State(STALE, why, derived=True)
        was, inputs = mark.get("inputs"), job.inputs_mark(self._sha256)
        if was == inputs:
            return State(CURRENT)
        was = was if isinstance(was, dict) else {}
        changed = ", ".join(name for name in inputs if was.get(name) != inputs[name])
        return State(STALE, f"another {changed or 'input'} than it was made from")

    def _sha256(self, path: str) -> str:
        try:
            return self._hashes.sha256(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _refuse_if_of_somebody(job: Job) -> None:
    """Leave a set alone that somebody has put where a job would write.

    Raises:
        InputError: there is one, which does not say what the pipeline says in every set, or cannot
            be read and has nothing beside it that says that it was made here.
    """
    path = Path(job.files.outputs.get("set", ""))
    if job.rule not in ("condense", "select", "import_set") or not path.is_file():
        return
    try:
        metadata = files.read_metadata(path)
        ours = MADE_FROM in metadata or _of_the_first_version(metadata)
    except InputError:
        ours = Path(job.files.record).exists() or not path.stat().st_size
    if not ours:
        raise InputError(
            f"{path}: no set that was made here, and it is not overwritten; name its file under "
            "'imported' in the config, or move it away"
        )


def _of_the_first_version(metadata: Mapping[str, Any]) -> bool:
    versions = metadata.get("versions")
    return isinstance(versions, dict) and str(versions.get("dclib", "")).startswith("0.1.")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return in which of cell, settings, code and data two marks differ, in words, or nothing."""
    told = []
    for part in ("cell", "settings"):
        was, wanted = old.get(part), _single(new[part])
        was = _single(was) if isinstance(was, dict) else {}
        changed = [
            f"{key} {_shown(was, key)} -> {_shown(wanted, key)}"
            for key in sorted({*was, *wanted})
            if key not in was or key not in wanted or was[key] != wanted[key]
        ]
        if changed:
            more = len(changed) - SHOWN
            told.append(f"{part}: {', '.join(changed[:SHOWN])}{f' and {more} more' * (more > 0)}")
    told += [f"{part} has changed" for part in ("code", "data") if old.get(part) != new.get(part)]
    return "; ".join(told)


def _single(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The settings that are no mapping themselves, those of one as `mapping[key]`."""
    single: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{before}[{key}]" if before else key
        single |= _single(value, name) if isinstance(value, dict) and value else {name: value}
    return single


def _shown(settings: Mapping[str, Any], key: str) -> str:
    text = json.dumps(settings[key]) if key in settings else "none"
    return text if len(text) <= 40 else text[:37] + "..."
