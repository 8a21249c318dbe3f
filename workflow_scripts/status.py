"""Print how far the grid of a configuration is: `make status [CONFIG=mine.yaml]`."""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from dclib import provenance
from dclib.errors import InputError, one_line
from dclib.pipeline import grid, locks, status
from dclib.pipeline import paths as limits
from dclib.pipeline.grid import Cell, Grid

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent


def configured(overlays: list[Path]) -> Grid:
    """Read config.yaml and the overlays on it, as Snakemake does."""
    config: dict[str, Any] = {}
    for path in (ROOT / "config.yaml", *overlays):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it has no lines 'KEY: VALUE'")
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, yaml.YAMLError) as error:
            raise InputError(f"{path} is not a config in YAML: {one_line(error)}") from error
        update_config(config, content)
    schema = yaml.safe_load((ROOT / "schemas/config.schema.yaml").read_text())
    return Grid(config, schema)


def parts(described: Grid, results: Path) -> Iterator[status.Part]:
    """Every set of the grids of the configuration, each followed by its evaluations.

    The network that selections look at comes before the first of them.
    """
    cells: dict[Cell, list[str]] = {}
    references: set[Path] = set()
    for cell, tested in described.all_evaluations():
        cells.setdefault(cell, []).append(tested)
    code = provenance.code_digest
    for cell, networks in cells.items():
        folder, source, reference = results / cell.folder, None, None
        data = provenance.data_digest(described.dataset(cell.dataset), SCRIPTS / "prepare.py")
        if cell.method != grid.WHOLE:
            source = folder / "set.safetensors"
            names = ["set.safetensors", "set.png", "run.json"]
            params: tuple[Any, ...] = (data, code(SCRIPTS / "select.py"))
            if cell.method in grid.BY_REFERENCE:
                at = results / cell.dataset / "reference" / cell.network
                reference = at / "network.safetensors"
                if reference not in references:
                    references.add(reference)
                    settings = described.reference_network(cell.dataset, cell.network)
                    yield status.Part(
                        Cell(cell.dataset, "reference", cell.network, "all", cell.seed), None,
                        (reference,), at / "network.log", at / "network.checkpoint.safetensors",
                        (data, settings, code(SCRIPTS / "reference_network.py")),
                    )  # fmt: skip
            if grid.base(cell.method) in grid.ITERATIVE:
                names.append("trace.csv")
                module = f"dclib.methods.{grid.ITERATIVE[grid.base(cell.method)]}"
                learnt_by = code(SCRIPTS / "condense.py", module)
                params = (data, described.condensation(cell), learnt_by)
            yield status.Part(
                cell, None, tuple(folder / name for name in names), folder / "set.log",
                folder / "checkpoint.safetensors", params, reference,
            )  # fmt: skip
        for tested in networks:
            settings, place = described.evaluation(cell, tested), folder / "eval"
            yield status.Part(
                cell, tested, (place / f"{tested}.csv", place / f"{tested}.curve.csv"),
                place / f"{tested}.log", place / f"{tested}.checkpoint.safetensors",
                (data, settings, code(SCRIPTS / "evaluate.py")), source,
            )  # fmt: skip


def main() -> None:
    """Print the table, then what there is to say about single files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overlay", nargs="*", type=Path, help="as given to --configfile")
    try:
        described = configured(parser.parse_args().overlay)
        results = Path(limits.results_folder(described.config["results_dir"], ROOT))
        began = locks.started(results)
        reports = status.survey(parts(described, results), Path(".snakemake/metadata"), began)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(status.overview(reports))
    if details := status.details(reports):
        print(details)
    work = f"a run is at work, since {time.ctime(began)}" if began else "no run is at work"
    print(f"\n{work} (`left` is computing time, of one job after another)")


main()
