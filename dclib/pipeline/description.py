"""What a job is, as the plan describes it; a job that reads it imports little more."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from dclib import provenance
from dclib.pipeline.paths import Cell

BEFORE = "before"  # the input that a job only waits for
MADE_FROM, DIGESTS = "made_from", "files"  # keys of a record


@dataclasses.dataclass(frozen=True)
class Files:
    """What a job writes.

    Attributes:
        outputs: by name; the last one, `record`, says what the others were made of, and is written
            when they are safe.
        checkpoint: what a job that was ended goes on from.
        kept: what a finished one has left for one of more iterations or networks to go on from.
    """

    outputs: Mapping[str, str]
    log: str
    benchmark: str
    checkpoint: str
    kept: str

    @property
    def record(self) -> str:
        return self.outputs["record"]


@dataclasses.dataclass(frozen=True)
class Job:
    """One job: what it writes, and everything that this depends on.

    Attributes:
        rule: of Snakemake.
        cell: what the job is part of, as far as it is, by the names of a cell's parts.
        settings: those that can touch the result, as JSON holds them.
        data: a digest of the data set that it is made from, or an empty text.
        code: a digest of its script and of `modules`.
        sources: the files of these, and the digests of their bytes.
        script: the file in workflow_scripts that does the job.
        modules: those of dclib that the script calls.
        inputs: the files that it reads and other jobs make, by name.
        method: of a set, the folder in `dclib.methods` that makes it.
        source: the file that it reads and no job makes, of an imported set.
        grows: see `dclib.methods.Face`.
        earlier: the states that others leave for it to go on from, the latest first.
        factor: how many small images there are in one of the set that is trained on, a side.
    """

    rule: str
    cell: Mapping[str, Any]
    settings: Mapping[str, Any]
    data: str
    code: str
    sources: Mapping[str, str]
    script: str
    modules: tuple[str, ...]
    inputs: Mapping[str, tuple[str, ...]]
    files: Files
    method: str = ""
    source: str = ""
    grows: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    factor: int = 1

    @property
    def point(self) -> Cell:
        """The cell of the grid that the job is part of."""
        return Cell(**{name: self.cell[name] for name in Cell._fields})

    @property
    def tested(self) -> str:
        """The network that is trained, of an evaluation; otherwise empty."""
        return str(self.cell.get("tested", ""))

    @property
    def title(self) -> str:
        """What the job is called where it reports its progress."""
        return " ".join(map(str, self.cell.values())) or self.rule

    @property
    def mark(self) -> dict[str, Any]:
        """What a result is marked with, but for the inputs: another mark, and it is stale."""
        return {
            "cell": dict(self.cell),
            "settings": dict(self.settings),
            "code": self.code,
            "data": self.data,
        }

    @property
    def begun(self) -> dict[str, Any]:
        """The part of the mark that a checkpoint has to fit; of a snapshot, that of its set."""
        settings = {name: told for name, told in self.settings.items() if name not in self.grows}
        cell = self.point.finished._asdict() if self.rule == "condense" else self.cell
        return {**self.mark, "cell": dict(cell), "settings": settings}

    def inputs_mark(self, sha256: Callable[[str], str]) -> dict[str, str]:
        """Return the mark's part that tells of the inputs.

        A data set is known by `data` already, and what only goes before changes nothing.

        Args:
            sha256: what tells the digest of a file's bytes.
        """
        return {
            name: provenance.digest([sha256(path) for path in paths])
            for name, paths in self.inputs.items()
            if name not in ("data", BEFORE)
        }
