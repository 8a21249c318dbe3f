"""Publish what a grid has computed: its sets, what they are worth, and what made them.

    python benchmarks/record.py results/ config.yaml table1     (--config of the grid, a name)
    snakemake --configfile benchmarks/records/DATE-table1/evaluate.yaml --cores 1 table1
    python benchmarks/record.py --restore benchmarks/records/DATE-table1 results/

The first writes benchmarks/records/DATE-NAME, where files lie as in a results folder, or adds to
the record of that name. The second trains networks on the sets that are there. The third puts all
of it where a grid has it, also what an unfinished set goes on from, so that the grid goes on, here
or on another machine: results count as made as long as the code is that of the commit in
record.json.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dclib import files, provenance
from dclib.errors import InputError
from dclib.pipeline import settings, tabulation
from dclib.pipeline.paths import Cell
from dclib.tensors import read_sealed

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks/records"
LARGEST = 200_000  # bytes of a set that is published here
# What is kept of a cell; of an unfinished one, what it goes on from.
OF_SET = ("set.safetensors", "set.png", "run.json", "trace.csv")
OF_NETWORKS = ("eval/*.csv", "eval/*.json")
UNFINISHED = "checkpoint.safetensors"


def cells(folder: Path, having: str) -> list[Cell]:
    """Return the cells of a results folder, or of a record, that have a file."""
    paths = sorted(folder.glob(f"*/*/*/ipc-*/seed-*/{having}"))
    return [*dict.fromkeys(Cell.of(path.relative_to(folder))[0] for path in paths)]


def publish(results: Path, config: Path, folder: Path) -> None:
    """Write, or add to, a record of the sets and evaluations of `results`.

    Raises:
        InputError: there is nothing to publish, or the config is missing or wrong.
    """
    told, written = settings.load([ROOT / "config.yaml", config]), config.read_text("utf-8")
    done = cells(results, "run.json")
    for cell in done:
        if _small(results / cell.folder / "set.safetensors"):
            _copy(results, folder, cell, OF_SET)
            (folder / cell.folder / UNFINISHED).unlink(missing_ok=True)
    for cell in cells(results, "eval/*.json"):
        _copy(results, folder, cell, OF_NETWORKS)
    for cell in cells(results, UNFINISHED):
        if cell not in done and not (folder / cell.folder / "run.json").exists():
            _copy(results, folder, cell, (UNFINISHED,))
    found, begun = cells(folder, "run.json"), cells(folder, UNFINISHED)
    paths = sorted(folder.glob("*/*/*/ipc-*/seed-*/eval/*.json"))
    if not (found or begun or paths):
        raise InputError(f"{results}: no set is begun, and no evaluation finished")
    files.write_text(folder / "config.yaml", written)
    if found:
        files.write_text(folder / "evaluate.yaml", yaml.safe_dump(overlay(folder, found, told)))
    made = [files.read_json(folder / cell.folder / "run.json") for cell in found]
    trained = [files.read_json(path) for path in paths]
    files.write_json(
        folder / "record.json",
        {
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "commits": sorted({str(each.get("commit", "")) for each in (*made, *trained)}),
            "hardware": {
                "processor": _processor(), "cores": os.cpu_count(), "system": platform.platform(),
                "devices": sorted({str(each.get("device", "cpu")) for each in (*made, *trained)}),
            },
            "versions": {
                part: ", ".join(sorted({each["versions"][part] for each in (*made, *trained)}))
                for part in ("dclib", "python", "torch")
            },
            "seconds": {
                "sets": round(sum(each["seconds"] for each in made)),
                "evaluations": round(sum(each["seconds"] for each in trained)),
            },
            "unfinished": [_unfinished(folder, cell) for cell in begun],
        },
    )  # fmt: skip
    rows = [path.with_suffix(".csv") for path in paths]
    evaluations = tabulation.collect(rows, folder) if rows else None
    if evaluations is not None:
        files.write_text(folder / "evaluations.csv", evaluations.to_csv(index=False))
    files.write_text(folder / "README.md", page(folder, evaluations))


def _copy(source: Path, target: Path, cell: Cell, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        for path in (source / cell.folder).glob(pattern):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def _unfinished(folder: Path, cell: Cell) -> dict[str, Any]:
    """Return how far an unfinished set of a record is, and the commit that it goes on with."""
    iteration = read_sealed(folder / cell.folder / UNFINISHED)[1]["progress"]["iteration"]
    told = {**cell._asdict(), "iteration": iteration, "commit": provenance.commit()}
    before = folder / "record.json"
    for each in files.read_json(before).get("unfinished", []) if before.exists() else []:
        if {**told, "commit": each["commit"]} == each:
            return each
    return told


def overlay(folder: Path, found: list[Cell], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that evaluates the sets of a record as `config` does."""
    place = os.path.relpath(folder.resolve(), ROOT)
    names = dict.fromkeys(cell.method for cell in found)
    file = "{network}/ipc-{ipc}/seed-{seed}/set.safetensors"
    imported = {
        f"{method.replace('-', '_').replace('@', '_after_')}_recorded": {
            "file": f"{place}/{{dataset}}/{method}/{file}"
        }
        for method in names
    }
    return {
        "datasets": [
            each
            for each in config["datasets"]
            if (each if isinstance(each, str) else each["name"]) in {cell.dataset for cell in found}
        ],
        "images_per_class": sorted({int(cell.ipc) for cell in found}),
        "methods": [*imported],
        "networks": [*dict.fromkeys(cell.network for cell in found)],
        "seeds": sorted({cell.seed for cell in found}),
        "imported": imported,
        **{key: config[key] for key in ("evaluation", "protocols") if key in config},
        "overrides": {
            key: told
            for key, told in (config.get("overrides") or {}).items()
            if told and told.keys() == {"evaluation"} and "method=" not in key
        },
        "table2": None, "cross_architecture": None, "ablations": None,
    }  # fmt: skip


def page(folder: Path, evaluations: pd.DataFrame | None) -> str:
    """Return the page of a record: its table, beside what is published."""
    published = tabulation.read_published(ROOT / "resources/published.csv")
    told = json.loads((folder / "record.json").read_text())
    lines = [f"# {folder.name}\n"]
    if told["unfinished"]:
        lines += ["| unfinished | iterations done | goes on with commit |", "|---|---|---|"]
        lines += [
            f"| {Cell(*(each[part] for part in Cell._fields)).folder} | {each['iteration']} "
            f"| {each['commit']} |"
            for each in told["unfinished"]
        ] + [""]
    if evaluations is None:
        return "\n".join(lines)
    lines += [
        f"Commit {' and '.join(told['commits'])}, {told['hardware']['processor']}, PyTorch "
        f"{told['versions']['torch']}, {told['date']}. n networks, trained from scratch.\n",
        "| data set | method | ipc | network | tested | protocol | test accuracy | n | published |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in tabulation.summarise(evaluations).itertuples():
        same = published[
            (published["dataset"] == row.dataset) & (published["ipc"] == str(row.ipc))
            & (published["method"] == row.method) & (published["network"] == row.eval_network)
            & (published["protocol"] == row.protocol)
        ]  # fmt: skip
        beside = ", ".join(
            f"{one.accuracy_mean}" + f" ± {one.accuracy_std}" * (one.accuracy_std > 0)
            + f" ({one.source}, {row.mean - one.accuracy_mean:+.1f})"
            for one in same.itertuples()
        )  # fmt: skip
        spread = "" if pd.isna(row.std) else f" ± {row.std:.1f}"
        lines.append(
            f"| {row.dataset} | {row.method} | {row.ipc} | {row.network} | {row.eval_network} "
            f"| {row.protocol} | {row.mean:.1f}{spread} | {row.n} | {beside} |"
        )
    return "\n".join(lines) + "\n"


def restore(folder: Path, results: Path) -> int:
    """Put the cells of a record where a grid has them, and return how many; none is overwritten.

    Raises:
        InputError: there is no record.
    """
    if not (folder / "record.json").is_file():
        raise InputError(f"{folder}: is no record, it has no record.json")
    count = 0
    for cell in cells(folder, "**/*"):
        if not (results / cell.folder).exists():
            _copy(folder, results, cell, (*OF_SET, *OF_NETWORKS, UNFINISHED))
            count += 1
    return count


def _small(path: Path) -> bool:
    if small := path.stat().st_size <= LARGEST:
        return small
    print(f"{path}: left out, it has more than {LARGEST} bytes", file=sys.stderr)
    return False


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in told.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--restore", action="store_true", help="RECORD RESULTS: the way back")
    parser.add_argument("places", nargs="+", type=Path, help="RESULTS CONFIG NAME")
    given = parser.parse_args()
    try:
        if given.restore:
            record, results = given.places
            print(f"{restore(record, results)} cells are there again")
        else:
            results, config, title = given.places
            date = datetime.datetime.now(datetime.UTC).date().isoformat()
            there = sorted(RECORDS.glob(f"????-??-??-{title}"))
            publish(results, config, there[-1] if there else RECORDS / f"{date}-{title}")
    except (InputError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
