"""Publish what a grid has computed: its sets, what they are worth, and what made them.

    python benchmarks/record.py results/ config.yaml table1     (--config of the grid, a name)
    snakemake --configfile benchmarks/records/DATE-table1/evaluate.yaml --cores 1 table1
    python benchmarks/record.py --restore benchmarks/records/DATE-table1 results/

The first writes benchmarks/records/DATE-NAME; call it again when more is finished. The second
trains networks on the sets that are there. The third puts the sets where a grid has them, so that
it goes on from them: they count as made as long as the code is that of the commit in record.json.
"""

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from dclib import files
from dclib.errors import InputError
from dclib.pipeline import settings, tabulation
from dclib.pipeline.paths import Cell

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "benchmarks/records"
LARGEST = 200_000  # bytes of a set that is published here
# What is kept of a set, and what it is called in a record, after the name of the set.
PARTS = {
    "set.safetensors": ".safetensors", "set.png": ".png", "run.json": ".json", "trace.csv": ".csv",
}  # fmt: skip


def name(cell: Cell) -> str:
    """Return what the files of a set are called in a record."""
    return f"{cell.method}/{cell.dataset}-{cell.network}-ipc-{cell.ipc}-seed-{cell.seed}"


def cells(results: Path) -> Iterator[Cell]:
    """Yield the cells of a results folder whose sets are finished."""
    for record in sorted(results.glob("*/*/*/ipc-*/seed-*/run.json")):
        yield Cell.of(record.relative_to(results))[0]


def publish(results: Path, config: Path, folder: Path) -> None:
    """Write a record of the finished sets and evaluations of `results`.

    Raises:
        InputError: there is nothing to publish.
    """
    found = [cell for cell in cells(results) if _small(results / cell.folder / "set.safetensors")]
    paths = sorted(results.glob("*/*/*/ipc-*/seed-*/eval/*.json"))
    rows = [path.with_suffix(".csv") for path in paths]
    if not rows:
        raise InputError(f"{results}: no evaluation is finished")
    for cell in found:
        for part, suffix in PARTS.items():
            if (source := results / cell.folder / part).exists():
                place = folder / f"{name(cell)}{suffix}"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)
    evaluations = tabulation.collect(rows, results)
    files.write_text(folder / "evaluations.csv", evaluations.to_csv(index=False))
    shutil.copyfile(config, folder / "config.yaml")
    told = settings.load([ROOT / "config.yaml", config])
    files.write_text(folder / "evaluate.yaml", yaml.safe_dump(overlay(folder, found, told)))
    made = [files.read_json(results / cell.folder / "run.json") for cell in found]
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
        },
    )  # fmt: skip
    files.write_text(folder / "README.md", page(folder, evaluations))


def overlay(folder: Path, found: list[Cell], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that evaluates the sets of a record as `config` does."""
    place = os.path.relpath(folder.resolve(), ROOT)
    names = dict.fromkeys(cell.method for cell in found)
    file = "{dataset}-{network}-ipc-{ipc}-seed-{seed}.safetensors"
    imported = {
        f"{method.replace('-', '_').replace('@', '_after_')}_recorded": {
            "file": f"{place}/{method}/{file}"
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


def page(folder: Path, evaluations: pd.DataFrame) -> str:
    """Return the page of a record: its table, beside what is published."""
    summary = tabulation.summarise(evaluations)
    published = tabulation.read_published(ROOT / "resources/published.csv")
    told = json.loads((folder / "record.json").read_text())
    lines = [
        f"# {folder.name}\n",
        f"Commit {' and '.join(told['commits'])}, {told['hardware']['processor']}, PyTorch "
        f"{told['versions']['torch']}, {told['date']}. n networks, trained from scratch.\n",
        "| data set | method | ipc | network | tested | protocol | test accuracy | n | published |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in summary.itertuples():
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
    """Put the sets of a record where a grid has them, and return how many; none is overwritten."""
    count = 0
    for record in sorted(folder.glob("*/*.json")):
        told = files.read_json(record)
        dataset, method, network, ipc, seed = (told[part] for part in Cell._fields)
        cell = Cell(dataset, method, network, str(ipc), seed)
        place = results / cell.folder
        if not place.exists():
            place.mkdir(parents=True)
            for part, suffix in PARTS.items():
                if (source := folder / f"{name(cell)}{suffix}").exists():
                    shutil.copyfile(source, place / part)
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
            print(f"{restore(record, results)} sets are there again")
        else:
            results, config, title = given.places
            date = datetime.datetime.now(datetime.UTC).date().isoformat()
            publish(results, config, RECORDS / f"{date}-{title}")
    except (InputError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
