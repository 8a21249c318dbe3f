"""Where results are, and what can be refused before anything runs; it needs no PyTorch."""

import os
import re
from pathlib import Path
from typing import NamedTuple, Self

from dclib.errors import InputError

# The smallest images, square, that the convolutions of a network leave something of. A ConvNet
# halves its maps once for each block of the depth that its name asks for.
_SMALLEST = {"LeNet": 16, "AlexNet": 16, "VGG11": 32, "ResNet18": 25, "ResNet18_AP": 16}
_PADDED = (28, 28)  # becomes 32x32, so that VGG11 takes it
# Of each of these a ConvNet has one.
_OPTIONS = (
    "depth[0-9]+",
    "width[0-9]+",
    "sigmoid|relu|leakyrelu|swish",
    "nonorm|batchnorm|layernorm|instancenorm|groupnorm",
    "nopool|maxpool|avgpool",
)
# What belongs to the pipeline itself; no result is written there.
PROJECT_FOLDERS = (
    ".ci", ".git", ".github", ".snakemake", ".venv", "benchmarks", "config", "dclib", "docs",
    "envs", "profiles", "report", "resources", "rules", "schemas", "tests", "workflow_scripts",
)  # fmt: skip
_CELL = re.compile(
    "([A-Za-z0-9][A-Za-z0-9_-]*)/([A-Za-z0-9_-]+)/([A-Za-z0-9_-]+)"  # data set, method, network
    "/ipc-([1-9][0-9]*|all)/seed-(0|[1-9][0-9]*)(?:/(.*))?"
)


class Cell(NamedTuple):
    """One point of the grid; `ipc` is a number of images per class, or `all`."""

    dataset: str
    method: str
    network: str
    ipc: str
    seed: int

    @property
    def folder(self) -> str:
        """Where its files are, under the results folder."""
        return f"{self.dataset}/{self.method}/{self.network}/ipc-{self.ipc}/seed-{self.seed}"

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> tuple[Self, str]:
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


def options_fault(network: str) -> str:
    """Return how the options of a ConvNet contradict each other, or an empty string."""
    options = network.split("-")[1:]
    for kind in _OPTIONS:
        chosen = [option for option in options if re.fullmatch(kind, option)]
        if len(chosen) > 1:
            return (
                f"network '{network}': '{chosen[0]}' and '{chosen[1]}' contradict each other; one "
                "of them is allowed"
            )
    width = next((int(o.removeprefix("width")) for o in options if o.startswith("width")), 128)
    if "groupnorm" in options and width % 4:
        return (
            f"network '{network}': width {width} with groupnorm, which has 4 groups; allowed are "
            "multiples of 4"
        )
    return ""


def smallest_image(network: str) -> int:
    """Return the height and width of the smallest images that a network takes."""
    name, *options = network.split("-")
    if name != "ConvNet":
        return _SMALLEST.get(re.sub("BN", "", name), 1)
    depths = [int(option.removeprefix("depth")) for option in options if "depth" in option]
    return 1 if "nopool" in options else 2 ** sum(depths)


def images_fault(network: str, dataset: str, size: tuple[int, int]) -> str:
    """Return that images of `dataset`, of this height and width, are too small for a network."""
    smallest = smallest_image(network)
    if min(size) >= smallest or size == _PADDED:
        return ""
    return (
        f"network '{network}': images of '{dataset}' have {size[1]}x{size[0]} pixels, the smallest "
        f"that it takes are {smallest}x{smallest}; give the data set an image_size"
    )


def results_folder(path: str, project: Path) -> str:
    """Return the normalised path of the folder that results are written to.

    Args:
        path: as the configuration has it, absolute or below the working directory.
        project: the folder of the pipeline.

    Raises:
        InputError: it is a file or below one, the root, or a folder of the pipeline's own, or its
            name has a meaning to Snakemake.
    """

    def refuse(why: str) -> InputError:
        return InputError(
            f"config key 'results_dir': {path!r} {why}; allowed is a folder of its own, as "
            "'results', which need not exist"
        )

    if not path.strip() or not path.isprintable() or set(path) & set("{}*?"):
        raise refuse("is empty or has a character that is not allowed in it")
    try:
        folder = os.path.normpath(Path(path).expanduser())
    except RuntimeError as error:
        raise refuse("is in a home that is not known") from error
    place, project = Path(folder).resolve(), project.resolve()
    if place == Path(place.anchor):
        raise refuse("is the root of the file system")
    if place in (project, *project.parents):
        raise refuse("holds the pipeline itself")
    if place.is_relative_to(project) and place.relative_to(project).parts[0] in PROJECT_FOLDERS:
        raise refuse("belongs to the pipeline")
    for above in (place, *place.parents):
        if os.path.lexists(above) and not above.is_dir():
            raise refuse("is a file" if above == place else f"is below the file {above}")
    return folder
