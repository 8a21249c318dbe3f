"""The figures: which there are, and what each shows of the grid; `drawing` does it.

One line or picture for each data set and ipc: of the first method that learns a set (or else
selects one, or else `whole`) with the first network, evaluated on the first network.
"""

from dclib import methods
from dclib.pipeline.aggregates import Aggregate, files
from dclib.pipeline.expansion import Evaluation
from dclib.pipeline.grid import Grid

_PREFERRED = ("learnt", "imported", "selected", "whole")


def shown(grid: Grid) -> list[Evaluation]:
    """Return the cells of the main grid that figures show, each with its first tested network.

    There is one for each protocol.
    """
    kinds = {name: methods.face(grid.base(name)).kind for name in grid.config["methods"]}
    method = min(kinds, key=lambda name: _PREFERRED.index(kinds[name]))
    cells = {cell: None for cell in grid.cells() if cell.method == method}
    network = next(iter(cells)).network
    first = {cell: how.network for cell, how in reversed(grid.evaluations())}
    return [
        (cell, how)
        for cell, how in grid.evaluations()
        if cell in cells and cell.network == network and how.network == first[cell]
    ]


def shown_sets(grid: Grid) -> list[Evaluation]:
    """Return one cell of every data set: the first seed, the ipc nearest to what is asked for."""
    wanted = grid.config["figures"]["condensed_sets_ipc"]
    ipc = min(grid.config["images_per_class"], key=lambda n: (abs(n - wanted), n))
    found = {
        cell: how
        for cell, how in shown(grid)
        if (cell.ipc, cell.seed) == (str(ipc), grid.config["seeds"][0])
    }
    return [*found.items()]


def _by_iteration(grid: Grid) -> dict[str, int]:
    """After how many iterations each set of the snapshots is as it is, by its cell's folder."""
    return {cell.folder: grid.iterations(cell) for cell, _ in grid.snapshots()}


def _emerging(grid: Grid) -> list[Evaluation]:
    """The first seed's snapshots, and the sets that they are of."""
    first = grid.config["seeds"][0]
    found = {cell: how for cell, how in grid.snapshots() if cell.seed == first}
    return sorted(found.items(), key=lambda each: (each[0].finished, grid.iterations(each[0])))


FIGURES = {
    "figure1_condensed_sets": Aggregate(
        "figure1_condensed_sets",
        files("figures", "figure1_condensed_sets", "png", "pdf"),
        shown_sets,
        ("set",),
        "dclib.pipeline.drawing:condensed_sets",
        caption="figure1.rst",
    ),
    "figure2_accuracy": Aggregate(
        "figure2_accuracy",
        files("figures", "figure2_accuracy", "png", "pdf"),
        shown,
        ("curve",),
        "dclib.pipeline.drawing:accuracy_curves",
        caption="figure2.rst",
    ),
    "accuracy_by_iteration": Aggregate(
        "accuracy_by_iteration",
        files("figures", "accuracy_by_iteration", "png", "pdf"),
        Grid.snapshots,
        ("rows",),
        "dclib.pipeline.drawing:accuracy_by_iteration",
        lambda grid: {"iterations": _by_iteration(grid)},
        caption="accuracy_by_iteration.rst",
    ),
    "snapshots": Aggregate(
        "snapshots",
        files("figures", "snapshots", "png", "pdf"),
        _emerging,
        ("set",),
        "dclib.pipeline.drawing:snapshots",
        lambda grid: {"iterations": _by_iteration(grid)},
        caption="snapshots.rst",
    ),
}
