"""The tables: which there are, and what each is drawn up from; `tabulation` does it."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from dclib import provenance
from dclib.data import sources
from dclib.pipeline import paths
from dclib.pipeline.aggregates import Aggregate, files
from dclib.pipeline.expansion import Evaluation, key_of
from dclib.pipeline.grid import Grid
from dclib.pipeline.paths import Cell, Trained

PUBLISHED = paths.WORKFLOW / "resources/published.csv"


def _described(
    name: str,
    function: str,
    evaluations: Callable[[Grid], list[Evaluation]],
    settings: Callable[[Grid], dict[str, Any]],
    reads: tuple[str, ...] = ("rows",),
    more: Mapping[str, str] | None = None,
) -> Aggregate:
    return Aggregate(
        name,
        {**files("tables", name, "csv", "md", "tex"), **(more or {})},
        evaluations,
        reads,
        f"dclib.pipeline.{function}",
        settings,
        f"{name}.rst",
    )


def as_published(options: Mapping[str, Any]) -> bool:
    """Return whether a data set is all of the public one of its name, in its size.

    Args:
        options: as `dclib.data.sources.look` takes them.
    """
    name = options["name"]
    if name != options["source"] or name not in sources.without_path():
        return False
    if any(options.get(key) for key in ("classes", "max_per_class", "validation")):
        return False
    return sources.look(options).image_size == sources.look({"name": name}).image_size


def _compared(name: str, number: str, evaluations: Callable[[Grid], list[Evaluation]]) -> Aggregate:
    """A table beside what the published one of this number says."""
    return _described(
        name,
        "tabulation:compared",
        evaluations,
        lambda grid: {
            "number": number,
            "expected": grid.expected_models(evaluations(grid)),
            "changed": grid.changed(evaluations(grid)),
            "published": provenance.digest(PUBLISHED.read_text(encoding="utf-8")),
            "altered": sorted(
                {
                    cell.dataset
                    for cell, _ in evaluations(grid)
                    if not as_published(grid.dataset(cell.dataset))
                }
            ),
        },
    )


def _labels(grid: Grid, cell: Cell, tested: Trained) -> str:
    """What labels the images of an evaluation: see `tabulation.score`."""
    if grid.taught(cell, tested):
        return "teacher"
    return "hard" if grid.evaluation(cell, tested)["labels"] == "hard" else "own"


def _of_ablations(grid: Grid) -> list[Evaluation]:
    return list(dict.fromkeys(itertools.chain(*grid.ablations().values())))


_ALL = (
    Aggregate(
        "evaluations",
        files("tables", "evaluations", "csv"),
        Grid.all_evaluations,
        ("rows",),
        "dclib.pipeline.tabulation:evaluations",
    ),
    _compared("table1", "1", Grid.evaluations),
    _compared("table2", "2", Grid.table2),
    _described(
        "scores",
        "tabulation:scored",
        Grid.evaluations,
        lambda grid: {
            "expected": grid.expected_models(grid.evaluations()),
            "changed": grid.changed(grid.evaluations()),
            "augmented": {
                key_of(cell, tested): bool(grid.evaluation(cell, tested)["augmentation"])
                for cell, tested in grid.evaluations()
            },
            "labels": {
                key_of(cell, tested): _labels(grid, cell, tested)
                for cell, tested in grid.evaluations()
            },
        },
        reads=("rows", "set"),
    ),
    _described(
        "cross_architecture",
        "drawing:cross_architecture",
        Grid.cross_architecture,
        lambda grid: {
            "expected": grid.expected_models(grid.cross_architecture()),
            "changed": grid.changed(grid.cross_architecture()),
        },
        more=files("figures", "cross_architecture", "png", "pdf"),
    ),
    _described(
        "ablations",
        "tabulation:ablations",
        _of_ablations,
        lambda grid: {
            "ablations": {
                name: grid.expected_models(evaluations)
                for name, evaluations in grid.ablations().items()
            },
            "cells": {
                name: sorted({cell.folder for cell, _ in evaluations})
                for name, evaluations in grid.ablations().items()
            },
            "changed": grid.changed(_of_ablations(grid)),
        },
    ),
)
TABLES = {table.name: table for table in _ALL}
