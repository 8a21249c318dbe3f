"""Time what Snakemake costs: planning a grid of trivial cells, and running some of them.

    python benchmarks/overhead.py --cells 2000 --run 100

A cell is one random image per class of the digits, and one epoch of one MLP on them: a job that
selects and one that evaluates.
"""

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "config.yaml", "rules", "schemas", "workflow_scripts", "dclib", "envs",
         "profiles", "report", "resources")  # fmt: skip


def configure(folder: Path, cells: int) -> None:
    """Write a grid of that many cells."""
    grid = {
        "datasets": ["digits"], "images_per_class": [1], "methods": ["random"],
        "networks": ["MLP"], "seeds": list(range(cells)),
        "table2": None, "cross_architecture": None, "ablations": None,
        "evaluation": {"models": 1, "epochs": 1, "curve_points": 1},
    }  # fmt: skip
    (folder / "grid.json").write_text(json.dumps(grid))


def call(folder: Path, what: str, *arguments: str, program: str = "snakemake") -> float:
    """Call Snakemake on the grid; print the seconds that it took, return those on a CPU."""
    options = ["--configfile", "grid.json", "--cores", "1"] if program == "snakemake" else []
    command = [sys.executable, "-m", program, *options, *arguments]
    started, before = time.monotonic(), cpu_seconds()
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, check=False)
    seconds, computed = time.monotonic() - started, cpu_seconds() - before
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    print(f"{what}: {seconds:.1f} s, {computed:.1f} s on a CPU", flush=True)
    return computed


def cpu_seconds() -> float:
    """What all processes that were called so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def computing_seconds(folder: Path) -> float:
    """What the jobs have computed, by their own record: all else is overhead."""
    total = sum(json.loads(p.read_text())["seconds"] for p in folder.rglob("run.json"))
    for path in folder.rglob("eval/MLP.csv"):
        with path.open() as rows:
            total += sum(float(row["seconds"]) for row in csv.DictReader(rows))
    return total


def multiply(folder: Path, cells: int) -> None:
    """Give every cell the files of the first one."""
    cell = folder / "results/digits/random/MLP/ipc-1"
    for seed in range(1, cells):
        shutil.copytree(cell / "seed-0", cell / f"seed-{seed}", dirs_exist_ok=True)


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--run", type=int, default=100, help="cells that are really run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
            copy(ROOT / part, folder / part)
        configure(folder, asked.cells)
        call(folder, f"dry run of {asked.cells} cells", "--dry-run", "--quiet")
        configure(folder, asked.run)
        call(folder, "the data set", "results/digits/data.safetensors")
        seconds = call(folder, f"{asked.run} cells, really run", "results/tables/evaluations.csv")
        overhead = (seconds - computing_seconds(folder)) / asked.run
        print(f"overhead of a cell, two jobs: {overhead:.2f} s on a CPU")
        configure(folder, asked.cells)
        multiply(folder, asked.cells)
        table = "results/tables/evaluations.csv"
        call(folder, f"noting {asked.cells} cells as finished", "--touch", table)
        call(folder, f"finding {asked.cells} cells up to date", table)
        call(
            folder, f"status of {asked.cells} cells", "grid.json", program="workflow_scripts.status"
        )


main()
