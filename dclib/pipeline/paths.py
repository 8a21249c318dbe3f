"""Where results are, and what can be refused before anything runs; it needs no PyTorch."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from dclib import provenance
from dclib.applications.evaluation.protocols import DEFAULT
from dclib.errors import InputError

# The folder of the Snakefile: in the package where that is installed, else around it.
_INSTALLED = provenance.ROOT / provenance.WORKFLOW
WORKFLOW = _INSTALLED if _INSTALLED.is_dir() else provenance.ROOT
# What belongs to the pipeline itself; no result is written there.
PROJECT_FOLDERS = (
    ".ci", ".git", ".github", ".snakemake", ".venv", "benchmarks", "config", "dclib", "docs",
    "envs", "profiles", "report", "resources", "rules", "schemas", "tests", "workflow_scripts",
)  # fmt: skip
_CELL = re.compile(
    "([A-Za-z0-9][A-Za-z0-9_-]*)/([A-Za-z0-9_-]+(?:@[1-9][0-9]*)?)/([A-Za-z0-9_-]+)"
    "/ipc-([1-9][0-9]*|all)/seed-(0|[1-9][0-9]*)(?:/(.*))?"
)


class Cell(NamedTuple):
    """One point of the grid; `ipc` is a number of images per class, or `all`.

    Method `dc@100` stands for how the set of `dc` was after 100 iterations: a snapshot of it.
    """

    dataset: str
    method: str
    network: str
    ipc: str
    seed: int

    @property
    def folder(self) -> str:
        """Where its files are, under the results folder."""
        return f"{self.dataset}/{self.method}/{self.network}/ipc-{self.ipc}/seed-{self.seed}"

    @property
    def snapshot(self) -> int | None:
        """After how many iterations it is one of a set; None if it is none."""
        after = self.method.partition("@")[2]
        return int(after) if after else None

    @property
    def finished(self) -> "Cell":
        """The cell that it is a snapshot of, or itself."""
        return self._replace(method=self.method.partition("@")[0])

    def after(self, iterations: int) -> "Cell":
        """Return the cell of its snapshot after so many iterations."""
        return self._replace(method=f"{self.finished.method}@{iterations}")

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> "tuple[Cell, str]":
        """Return the cell that a path under the results folder belongs to, and the path in it.

        Raises:
            InputError: it is in no cell's folder.
        """
        found = _CELL.fullmatch(os.fspath(path))
        if found is None:
            raise InputError(
                f"{os.fspath(path)!r} is not the path of a cell; allowed: "
                "{dataset}/{method}/{network}/ipc-{ipc}/seed-{seed}/..."
            )
        dataset, method, network, ipc, seed, rest = found.groups(default="")
        return cls(dataset, method, network, ipc, int(seed)), rest


class Trained(NamedTuple):
    """A network that is trained on sets, and the protocol by which it is."""

    network: str
    protocol: str = DEFAULT

    @property
    def stem(self) -> str:
        """What its files in a cell's folder `eval` begin with; the usual protocol is not named."""
        return self.network if self.protocol == DEFAULT else f"{self.network}.{self.protocol}"

    @classmethod
    def of(cls, stem: str) -> "Trained":
        """Return what a name that `stem` made stands for."""
        network, _, protocol = stem.partition(".")
        return cls(network, protocol or DEFAULT)


def results_folder(path: str, project: Path) -> str:
    """Return the normalised path of the folder that results are written to.

    Args:
        path: as the configuration has it, absolute or below the working directory.
        project: the folder of the pipeline.

    Raises:
        InputError: it is a file or below one, the root, or a folder of the pipeline's own, or its
            name has a meaning to Snakemake, to a command line or to pandas.
    """

    def refuse(why: str) -> InputError:
        return InputError(
            f"config key 'results_dir': {path!r} {why}; allowed is a folder of its own, as "
            "'results', which need not exist"
        )

    if not path.strip() or not path.isprintable() or set(path) & set("{}<>*?"):
        raise refuse("is empty or has a character that is not allowed in it")
    if path.startswith("-"):
        raise refuse("begins with '-', so that none of its files can be asked for")
    if re.match("[A-Za-z][A-Za-z0-9+.-]*:/", path):
        raise refuse("is an address")
    try:
        folder = os.path.normpath(Path(path).expanduser())
    except RuntimeError as error:
        raise refuse("is in a home that is not known") from error
    try:
        place, project = Path(folder).resolve(), project.resolve()
        there = place.exists()
    except OSError as error:  # too long a name
        raise refuse(f"cannot be opened ({error.strerror})") from error
    except RuntimeError as error:
        raise refuse("is a link in a circle") from error
    if not there and Path(folder).is_symlink():
        raise refuse("is a link to nothing")
    if place == Path(place.anchor):
        raise refuse("is the root of the file system")
    if place in (project, *project.parents):
        raise refuse("holds the pipeline itself")
    if folder == os.curdir or folder.startswith("-"):
        raise refuse("is written in a way in which none of its files can be asked for")
    if place.is_relative_to(project) and place.relative_to(project).parts[0] in PROJECT_FOLDERS:
        raise refuse("belongs to the pipeline")
    for above in (place, *place.parents):
        if os.path.lexists(above) and not above.is_dir():
            raise refuse("is a file" if above == place else f"is below the file {above}")
    return folder
