"""The grid on a real SLURM: what its jobs are given, and what becomes of those that are stopped.

Four calls of Snakemake run side by side; the tests look at what they and SLURM have left behind.
"""

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster import Cluster, command, obstacle
from workflow.pipeline import clone

NETWORK = "ConvNet-width4"
CONFIG = {
    "datasets": ["digits"],
    "condensation": {"dc": {"iterations": 150, "real_batch": 8}, "dc-bad": {"lr_img": 1e30}},
    "evaluation": {"models": 2, "epochs": 2, "curve_points": 2},
    # Only a signal makes a checkpoint.
    "execution": {"checkpoint_seconds": 3600, "device": "cpu"},
}
# The lines of the profile that a user of this cluster edits, or takes the comment sign from.
EDITS = {
    "# slurm_partition: gpu": "slurm_partition: gpu",
    "# gpu_model: a100": "gpu_model: common",
    "# slurm-status-command: squeue": "slurm-status-command: squeue",
    "status-checks: 10": "status-checks: 2",
}
GROUPS = {
    f"# {key}: [": f"{key}: ["
    for key in ("groups", "group-components", "resources", "set-resource-scopes")
}
SHOWN = ("JobId", "Comment", "JobState", "Reason", "Restarts", "RunTime", "TimeLimit")
SECONDS = 900  # for a run; some three minutes on two idle cores
RESULT = "set.safetensors"
GPU = "gres:gpu:common:1"
pytestmark = pytest.mark.timeout(1.5 * SECONDS)


class Run:
    """One call of Snakemake in a copy of the pipeline of its own."""

    def __init__(self, cluster, root, **config):
        self.cluster = cluster
        self.project = clone(root)
        self.project.configure(**{**CONFIG, **config})
        self.edit(EDITS)
        self.log = root.with_suffix(".log")
        self.process = None

    def edit(self, edits):
        for old, new in edits.items():
            self.project.edit("profiles/slurm/config.yaml", old, new)

    def start(self, *arguments):
        command = [sys.executable, "-m", "snakemake", "--configfile", "small.yaml", *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=self.project.root, stdout=log, stderr=subprocess.STDOUT
            )

    def wait(self, condition):
        """Return what `condition` returns, once that is something; it ends if nothing can be."""
        deadline = time.monotonic() + SECONDS
        while not (found := condition()):
            assert self.process.poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.2)
        return found

    def end(self, code=0):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(SECONDS)
        assert self.process.poll() == code, self.told()
        return self

    def told(self):
        """Everything that was said: by Snakemake, of its jobs by SLURM, and by these."""
        jobs = [" ".join(f"{key}={job.get(key)}" for key in SHOWN) for job in self.jobs()]
        logs = sorted(self.project.root.glob("results/digits/dc/*/*/*/set.log"))
        return "\n".join([self.log.read_text(), *jobs, *(path.read_text() for path in logs)])

    def jobs(self, method=None, seed=0):
        """The records of SLURM jobs of this call, or of those that condense one cell."""
        cell = f"rule_condense_wildcards_digits_{method}_{NETWORK}_1_{seed}"
        jobs = [job for job in self.cluster.jobs() if job["WorkDir"] == str(self.project.root)]
        return [job for job in jobs if method is None or job["Comment"] == cell]

    def cell(self, method="dc", seed=0):
        return self.project.root / f"results/digits/{method}/{NETWORK}/ipc-1/seed-{seed}"

    def freeze(self, seed, pattern):
        """Stop a condensation once its log says `pattern`; return its SLURM job.

        SLURM wakes it up when it ends the job, for whatever reason.
        """
        log = self.cell(seed=seed) / "set.log"
        self.wait(lambda: log.exists() and re.search(pattern, log.read_text()))
        job, process = self.wait(lambda: self._process(seed))
        os.kill(process, signal.SIGSTOP)
        return job

    def _process(self, seed):
        running = [job["JobId"] for job in self.jobs("dc", seed) if job["JobState"] == "RUNNING"]
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_text().split("\0")
                given = dict(
                    entry.partition("=")[::2]
                    for entry in (process / "environ").read_text().split("\0")
                )
                if "condense.py" in "".join(command[1:2]) and given.get("SLURM_JOB_ID") in running:
                    return given["SLURM_JOB_ID"], int(process.name)
        return None


def grid(run):
    """A grid of which one cell is cancelled, one nears its time limit and one cannot succeed."""
    run.start("--profile", "profiles/slurm", "--retries", "1", "all")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        cancelled, limited = pool.map(lambda seed: run.freeze(seed, "iteration 1/"), (0, 1))
    command("scancel", cancelled)
    (ran,) = [job["RunTime"] for job in run.jobs() if job["JobId"] == limited]
    minutes = int(ran.split(":")[1]) + 2  # one or two are left, less than the 90 seconds and 60
    command("scontrol", "update", f"JobId={limited}", f"TimeLimit={minutes}")
    return run.end(1)


def spot(run):
    """A cell on a GPU of another type, stopped by its time limit and then pre-empted.

    Without the profile's `slurm_extra` there is no signal but that at the end.
    """
    run.start(
        "--workflow-profile", "profiles/slurm", "--default-resources", "gpu_model=spot",
        "slurm_partition=spot",
        "--", str((run.cell() / RESULT).relative_to(run.project.root)),
    )  # fmt: skip
    command("scontrol", "update", f"JobId={run.freeze(0, 'iteration 1/')}", "TimeLimit=1")
    run.freeze(0, r"going on from.*\n.* iteration \d+/")  # at least one more
    command(
        "sbatch", "--partition=urgent", "--gpus=spot:1", "--mem=10", "--output=/dev/null",
        "--wrap=true",
    )  # fmt: skip
    return run.end()


def grouped(run):
    """Evaluations, several in a submission, by the lines that the profile shows."""
    run.edit(GROUPS)
    run.start("--profile", "profiles/slurm", "results/tables/evaluations.csv")
    return run.end()


def local(run):
    """The same cells without SLURM and without a break."""
    cells = [run.cell(seed=seed) / RESULT for seed in (0, 1)]
    run.start("--cores", "1", *(str(path.relative_to(run.project.root)) for path in cells))
    return run.end()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The four calls, ended."""
    why = obstacle()
    if why:
        pytest.skip(why)
    root = tmp_path_factory.mktemp("slurm")
    (root / "cluster").mkdir()
    cluster = Cluster(root / "cluster")
    started = {}
    try:
        cluster.start()
        limits = {"mem_mb": 500, "runtime": 60}
        resources = {name: limits for name in ("condense", "evaluate", "select")}
        others = {
            "datasets": ["digits"], "images_per_class": [1], "methods": ["random", "dc-bad"],
            "networks": [NETWORK], "seeds": [0],
        }  # fmt: skip
        networks = [NETWORK, "ConvNet-width2", "MLP"]
        for does, config in {
            grid: {"methods": ["dc"], "seeds": [0, 1], "table2": [others]},
            # Short, so that it fits in before the jobs that wait for the other GPUs.
            spot: {"resources": {**resources, "condense": {"mem_mb": 500, "runtime": 10}}},
            grouped: {"methods": ["whole"], "networks": networks},
            local: {},
        }.items():
            name = does.__name__
            started[does] = Run(cluster, root / name, **{"resources": resources, **config})
        with concurrent.futures.ThreadPoolExecutor(len(started)) as pool:
            futures = [pool.submit(does, run) for does, run in started.items()]
        yield {future.result().project.root.name: future.result() for future in futures}
    finally:
        for run in started.values():
            if run.process:
                run.process.kill()
                run.process.wait()
        cluster.stop()


def test_every_cell_is_a_job_that_asks_for_what_it_needs(runs):
    run = runs["grid"]
    asked = {
        (job["Comment"], job.get("TresPerJob"), re.search("mem=(\\w+)", job["TRES"])[1])
        for job in run.jobs()
    }
    rest = f"{NETWORK}_1"
    wanted = {
        (f"rule_select_wildcards_digits_random_{rest}_0", "gres:gpu:common:0"),
        (f"rule_condense_wildcards_digits_dc_{rest}_0", GPU),
        (f"rule_condense_wildcards_digits_dc_{rest}_1", GPU),
        (f"rule_condense_wildcards_digits_dc-bad_{rest}_0", GPU),
        (f"rule_evaluate_wildcards_digits_random_{rest}_0_{NETWORK}", GPU),
        (f"rule_evaluate_wildcards_digits_dc_{rest}_0_{NETWORK}", GPU),
        (f"rule_evaluate_wildcards_digits_dc_{rest}_1_{NETWORK}", GPU),
    }
    assert asked == {(*pair, "500M") for pair in wanted}
    assert {job["TresPerJob"] for job in runs["spot"].jobs()} == {"gres:gpu:spot:1"}


def test_never_more_gpus_than_there_are(runs):
    """And none for two jobs at a time: SLURM's own account, in order."""
    taken, most = {}, 0
    for context, job, numbers in runs["grid"].cluster.devices():
        for number in numbers:
            if context == "prolog_slurmd":
                assert number not in taken
                taken[number] = job
            else:
                assert taken.pop(number) == job
        most = max(most, len(taken))
    assert not taken
    assert most == 3


def test_a_cancelled_job_goes_on_to_the_same_bytes(runs):
    run = runs["grid"]
    jobs = run.jobs("dc", seed=0)
    assert [job["JobState"] for job in jobs] == ["CANCELLED", "COMPLETED"]
    _resumed(runs, run, seed=0, times=1)


def test_a_job_that_nears_its_time_limit_goes_on_to_the_same_bytes(runs):
    run = runs["grid"]
    jobs = run.jobs("dc", seed=1)
    assert [job["JobState"] for job in jobs] == ["FAILED", "COMPLETED"]
    assert jobs[1]["TimeLimit"] == "02:00:00"  # 2 x 60 minutes
    _resumed(runs, run, seed=1, times=1)


def test_a_timed_out_and_then_pre_empted_job_goes_on_to_the_same_bytes(runs):
    run = runs["spot"]
    jobs = run.jobs("dc")
    assert [job["JobState"] for job in jobs] == ["TIMEOUT", "COMPLETED"]
    assert [job["Restarts"] for job in jobs] == ["0", "1"]
    assert [job["TimeLimit"] for job in jobs] == ["00:01:00", "00:20:00"]  # 2 x 10 minutes
    _resumed(runs, run, seed=0, times=2)


def _resumed(runs, run, seed, times):
    done = run.cell(seed=seed)
    resumed_from = json.loads((done / "run.json").read_text())["resumed_from"]
    assert len(resumed_from) == times
    assert resumed_from == sorted(resumed_from)
    assert resumed_from[0] > 0
    assert resumed_from[-1] < 150
    assert (done / RESULT).read_bytes() == (runs["local"].cell(seed=seed) / RESULT).read_bytes()


def test_a_failing_job_is_reported_and_the_others_go_on(runs):
    run = runs["grid"]
    assert [job["JobState"] for job in run.jobs("dc-bad")] == ["FAILED"] * 2  # --retries 1
    said = run.log.read_text()
    assert f"log: results/digits/dc-bad/{NETWORK}/ipc-1/seed-0/set.log" in said
    assert "a learning rate is too large" in said  # the log itself
    assert not (run.cell("dc-bad") / RESULT).exists()
    for cell in (run.cell("random"), run.cell("dc", 0), run.cell("dc", 1)):
        assert (cell / f"eval/{NETWORK}.csv").exists()
    tables = run.project.root / "results/tables"  # made where Snakemake runs
    assert (tables / "table1.csv").exists()
    assert not (tables / "table2.csv").exists()


def test_evaluations_in_one_submission(runs):
    run = runs["grouped"]
    (job,) = run.jobs()
    assert job["JobState"] == "COMPLETED"
    assert job["TresPerJob"] == GPU
    assert job["TimeLimit"] == "03:00:00"  # three of an hour, one after another
    files = list(run.project.root.glob("results/digits/whole/*/ipc-all/seed-0/eval/*.csv"))
    assert len(files) == 2 * 3
