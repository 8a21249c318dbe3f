"""What a table, a figure or the page is drawn up from, told once: rules, plan and job read it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from dclib.pipeline.expansion import Evaluation
from dclib.pipeline.grid import Grid

_CATEGORIES = {".csv": "Tables", ".png": "Figures", ".html": "Page"}


@dataclass(frozen=True)
class Aggregate:
    """A table, a figure, or the page of all of them.

    Attributes:
        name: that of its rule.
        outputs: paths below the results, by name.
        evaluations: those that it is drawn up from; none if the configuration does not ask for it.
        reads: the names of the outputs that are read of each of them: `rows` (one a network) or
            `curve` of the evaluation, `set`, `png`, `trace` of its set, and `record` of both.
        make: `module:function`, called in the job with a `dclib.pipeline.tabulation.Work`.
        settings: what else it depends on, as JSON holds it.
        caption: the file in `report/` that describes it; empty to leave it out of the report.
        gathers: whether these outputs are read of all other tables and figures as well.
    """

    name: str
    outputs: Mapping[str, str]
    evaluations: Callable[[Grid], list[Evaluation]]
    reads: tuple[str, ...]
    make: str
    settings: Callable[[Grid], dict[str, Any]] = lambda grid: {}
    caption: str = ""
    gathers: bool = False

    @property
    def reported(self) -> dict[str, str]:
        """The names of the outputs that the report shows, and the category of each."""
        suffixes = {name: PurePosixPath(path).suffix for name, path in self.outputs.items()}
        shown = {name: _CATEGORIES.get(suffix) for name, suffix in suffixes.items() if self.caption}
        return {name: category for name, category in shown.items() if category}


def files(folder: str, name: str, *suffixes: str) -> dict[str, str]:
    """Return files of one name, by their suffixes, as the outputs of an aggregate."""
    return {suffix: f"{folder}/{name}.{suffix}" for suffix in suffixes}
