"""The page of all tables and figures: what it is drawn up from; `presentation` does it."""

from typing import Any

from dclib import provenance
from dclib.pipeline import figures, paths, tables
from dclib.pipeline.aggregates import Aggregate
from dclib.pipeline.grid import Grid

TEMPLATE = paths.WORKFLOW / "report/page.html.jinja"


def _settings(grid: Grid) -> dict[str, Any]:
    """What stands on the page beside the files: what describes the tables and figures."""
    described = {**tables.TABLES, **figures.FIGURES}
    captions = {
        name: " ".join((TEMPLATE.parent / each.caption).read_text(encoding="utf-8").split())
        for name, each in described.items()
        if each.caption and each.evaluations(grid)
    }
    return {
        "captions": captions,
        "changed": grid.changed(grid.all_evaluations()),
        "template": provenance.digest(TEMPLATE.read_text(encoding="utf-8")),
    }


PAGES = {
    "page": Aggregate(
        "page",
        {"html": "report.html"},
        Grid.all_evaluations,
        ("png", "trace", "record", "curve", "csv"),
        "dclib.pipeline.presentation:page",
        _settings,
        "page.rst",
        gathers=True,
    )
}
