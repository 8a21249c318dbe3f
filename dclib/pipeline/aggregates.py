"""What a table or figure is drawn up from, told once: rules, plan, report and job read it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from dclib.pipeline.grid import Evaluation, Grid

_CATEGORIES = {".csv": "Tables", ".png": "Figures"}


@dataclass(frozen=True)
class Aggregate:
    """A table or a figure.

    Attributes:
        name: that of its rule.
        outputs: paths below the results, by name.
        evaluations: those that it is drawn up from; none if the configuration does not ask for it.
        reads: what is read of each: its `rows` (one a network), its `curve`, or its `set`.
        make: `module:function`, called in the job with a `dclib.pipeline.tabulation.Work`.
        settings: what else it depends on, as JSON holds it.
        caption: the file in `report/` that describes it; empty to leave it out of the report.
    """

    name: str
    outputs: Mapping[str, str]
    evaluations: Callable[[Grid], list[Evaluation]]
    reads: Literal["rows", "curve", "set"]
    make: str
    settings: Callable[[Grid], dict[str, Any]] = lambda grid: {}
    caption: str = ""

    @property
    def reported(self) -> dict[str, str]:
        """The names of the outputs that the report shows, and the category of each."""
        suffixes = {name: PurePosixPath(path).suffix for name, path in self.outputs.items()}
        shown = {name: _CATEGORIES.get(suffix) for name, suffix in suffixes.items() if self.caption}
        return {name: category for name, category in shown.items() if category}


def files(folder: str, name: str, *suffixes: str) -> dict[str, str]:
    """Return files of one name, by their suffixes, as the outputs of an aggregate."""
    return {suffix: f"{folder}/{name}.{suffix}" for suffix in suffixes}
