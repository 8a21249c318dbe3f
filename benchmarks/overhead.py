"""Time what Snakemake costs: planning a grid of trivial cells, and running some of its jobs.

    python benchmarks/overhead.py --cells 2000 --seconds 300
    python benchmarks/overhead.py --cells 2000 --slurm --run 20

A cell is one random image per class of the digits, and one epoch of one MLP on them: a job that
selects and one that evaluates. With `--slurm`, some of them run on the SLURM of tests/slurm (two
processors, stand-in GPUs), by profiles/slurm.
"""

import argparse
import csv
import json
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "config.yaml", "rules", "schemas", "workflow_scripts", "dclib", "envs",
         "profiles", "report", "resources")  # fmt: skip
TABLE = "results/tables/evaluations.csv"
PROCESSORS = 2  # of the stand-in cluster


def prepare(folder: Path, cells: int) -> None:
    """Copy the pipeline, and write a grid of that many cells."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copy(ROOT / part, folder / part)
    limits = {"mem_mb": 800, "runtime": 10}
    grid = {
        "datasets": ["digits"], "images_per_class": [1], "methods": ["random"],
        "networks": ["MLP"], "seeds": list(range(cells)),
        "table2": None, "cross_architecture": None, "ablations": None,
        "evaluation": {"models": 1, "epochs": 1, "curve_points": 1},
        "execution": {"device": "cpu"}, "resources": {"evaluate": limits, "select": limits},
    }  # fmt: skip
    (folder / "grid.json").write_text(json.dumps(grid))


def snakemake(*arguments: str) -> list[str]:
    """Return a call of Snakemake on the grid."""
    return [sys.executable, "-m", "snakemake", "--configfile", "grid.json", *arguments]


def call(folder: Path, what: str, command: list[str], stop_after: float | None = None) -> float:
    """Run a command, and print and return its seconds; those on a CPU are printed, too.

    Args:
        stop_after: seconds after which it is interrupted; None wants it to end and to succeed.
    """
    started, before = time.monotonic(), cpu_seconds()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            process.wait(stop_after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
        else:
            if process.returncode:
                sys.exit((folder / "log").read_text())
    seconds = time.monotonic() - started
    print(f"{what}: {seconds:.1f} s, {cpu_seconds() - before:.1f} s on a CPU", flush=True)
    return seconds


def cpu_seconds() -> float:
    """What all processes that were called so far have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def finished(folder: Path) -> list[float]:
    """The seconds that every finished job has computed, by its own record."""
    seconds = [json.loads(p.read_text())["seconds"] for p in folder.rglob("seed-*/run.json")]
    for path in folder.rglob("eval/MLP.csv"):
        with path.open() as rows:
            seconds.append(sum(float(row["seconds"]) for row in csv.DictReader(rows)))
    return seconds


def evaluation(seed: int) -> str:
    """Return the last file of a cell."""
    return f"results/digits/random/MLP/ipc-1/seed-{seed}/eval/MLP.csv"


def multiply(folder: Path, cells: int) -> None:
    """Give every cell the files of the first one, as if they were made for it."""
    cell = folder / "results/digits/random/MLP/ipc-1"
    for seed in range(1, cells):
        shutil.copytree(cell / "seed-0", cell / f"seed-{seed}", dirs_exist_ok=True)
        for name in ("run", "eval/MLP"):
            record = cell / f"seed-{seed}/{name}.json"
            told = json.loads(record.read_text())
            told["made_from"]["cell"]["seed"] = seed
            record.write_text(json.dumps(told))


def local(folder: Path, cells: int, seconds: float) -> None:
    """Measure on this machine, one job at a time."""
    one = ("--cores", "1")
    planning = call(folder, f"dry run of {cells} cells", snakemake(*one, "--dry-run", "--quiet"))
    call(folder, "the data set", snakemake(*one, "results/digits/data.safetensors"))
    ran = call(folder, "running them, cut short", snakemake(*one, TABLE), stop_after=seconds)
    jobs = finished(folder)
    overhead = (ran - planning - sum(jobs)) / len(jobs)
    print(f"overhead of each of {len(jobs)} jobs: {overhead:.2f} s")
    call(folder, "one cell", snakemake(*one, evaluation(0)))
    multiply(folder, cells)
    call(folder, "their table", snakemake(*one, TABLE))
    call(folder, f"finding {cells} cells up to date", snakemake(*one, TABLE))
    status = [sys.executable, "-m", "workflow_scripts.status", "grid.json"]
    call(folder, f"status of {cells} cells", status)


def slurm(folder: Path, run: int) -> None:
    """Measure some cells on a SLURM of this machine."""
    sys.path.append(str(ROOT / "tests/slurm"))
    import cluster

    if why := cluster.obstacle():
        sys.exit(why)
    profile = folder / "profiles/slurm/config.yaml"
    words = profile.read_text().replace("# slurm-status-command", "slurm-status-command")
    profile.write_text(words)
    (folder / "cluster").mkdir()
    daemons = cluster.Cluster(folder / "cluster", PROCESSORS)
    try:
        daemons.start()
        targets = ("--profile", "profiles/slurm", "--", *map(evaluation, range(run)))
        ran = call(folder, f"{run} cells on SLURM", snakemake(*targets))
        lasted = [time.strptime(job["RunTime"], "%H:%M:%S") for job in daemons.jobs()]
    finally:
        daemons.stop()
    on_node = statistics.mean(t.tm_min * 60 + t.tm_sec for t in lasted)
    print(f"each of {len(lasted)} jobs: {on_node:.1f} s on its node, of which "
          f"{statistics.mean(finished(folder)):.1f} s computing; one by one "
          f"{ran * PROCESSORS / len(lasted):.1f} s from submission to the next")  # fmt: skip


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=300, help="to run the grid, locally")
    parser.add_argument("--slurm", action="store_true")
    parser.add_argument("--run", type=int, default=20, help="cells to run on SLURM")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, asked.cells)
        if asked.slurm:
            slurm(folder, asked.run)
        else:
            local(folder, asked.cells, asked.seconds)


main()
