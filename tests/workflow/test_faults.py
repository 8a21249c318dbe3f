"""Whatever goes wrong, one more call finishes the grid, to the same bytes, and repeats nothing."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
from pipeline import Project, clone, folder, iteration, jobs

from dclib.pipeline import locks

SMALL = {
    "datasets": ["digits"],
    "methods": ["random", "dc"],
    "condensation": {"dc": {"iterations": 100, "real_batch": 8}},
    "evaluation": {"models": 3, "epochs": 2, "curve_points": 2},
}
DC, RANDOM = (f"results/{folder('digits', method)}" for method in ("dc", "random"))
SET, CHECKPOINT = f"{DC}/set.safetensors", f"{DC}/checkpoint.safetensors"
ROWS = f"{DC}/eval/ConvNet-width4.csv"
ALL = "results/tables/evaluations.csv"  # needs every cell


class Disturbed(Project):
    """The finished pipeline, to take something away from."""

    def call(self, target=SET):
        return self.snakemake("--cores", "1", target, check=False)

    def start(self, target=SET):
        """Call Snakemake without waiting for it, as the leader of a process group of its own."""
        with (self.root / "output").open("w") as output:
            self.started = subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--configfile", "small.yaml",
                 "--cores", "1", target],
                cwd=self.root, stdout=output, stderr=output, start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )  # fmt: skip
        return self.started

    def freeze_at_iteration(self, number):
        """Stop the job that condenses, so that it cannot end before it is disturbed; return it."""
        deadline = time.monotonic() + 600
        while not self.path(CHECKPOINT).exists() or iteration(self.path(CHECKPOINT)) < number:
            assert self.started.poll() is None, self.path("output").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (job,) = jobs(self.root)
        os.kill(job, signal.SIGSTOP)
        return job

    def path(self, name):
        return self.root / name

    def log(self, name=f"{DC}/set.log"):
        return self.path(name).read_text()

    def unfinish(self):
        """Take away the condensed set, and what it could be made of at once."""
        for name in ("set.safetensors", "set.png", "run.json", "trace.csv", "set.log"):
            self.path(f"{DC}/{name}").unlink()
        self.path(f"{DC}/state.safetensors").unlink()

    def contents(self):
        """Every result by its path, without the seconds that something took."""
        found = {}
        for path in sorted(self.path("results").rglob("*")):
            name = str(path.relative_to(self.root))
            if path.name.endswith("state.safetensors"):  # it says where it was taken up again
                continue
            if path.suffix in (".safetensors", ".png"):
                found[name] = path.read_bytes()
            elif path.suffix == ".csv":
                rows = pd.read_csv(io.BytesIO(path.read_bytes()))
                found[name] = rows.drop(columns="seconds", errors="ignore").to_csv()
        return found

    def times(self):
        """When every finished file was written."""
        return {
            path: path.stat().st_mtime_ns
            for path in self.path("results").rglob("*")
            if path.suffix in (".safetensors", ".png", ".csv", ".json")
            and "checkpoint" not in path.name
        }

    def finish_with_one_call(self, undisturbed, target=SET, again=()):
        """Call once more; only files under a path in `again` may be written anew."""
        before = self.times()
        done = self.call(target)
        assert done.returncode == 0, done.stdout + done.stderr
        after = self.times()
        repeated = [str(p.relative_to(self.root)) for p in before if before[p] != after[p]]
        assert [name for name in repeated if not name.startswith(tuple(again))] == []
        assert self.contents() == undisturbed.contents()
        return done


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("undisturbed"))
    project.configure(**SMALL)
    project.snakemake("--cores", "2", "all")
    return Disturbed(project.root)


@pytest.fixture
def project(undisturbed, tmp_path):
    undisturbed.copy(tmp_path / "project")
    copy = Disturbed(tmp_path / "project")
    yield copy
    with contextlib.suppress(AttributeError, ProcessLookupError):  # nothing was started, or is left
        os.killpg(copy.started.pid, signal.SIGKILL)


def one_line(text, message):
    """The one line of `text` that holds `message`, which has no traceback."""
    (line,) = {line for line in text.splitlines() if message in line}
    assert "Traceback" not in text
    return line


@pytest.mark.parametrize("killed", ["job", "snakemake", "both"])
def test_kill_9(project, undisturbed, killed):
    shutil.rmtree(project.path(DC))
    for path in project.root.glob(ALL.replace(".csv", ".*")):
        path.unlink()
    process = project.start(ALL)
    job = project.freeze_at_iteration(5)
    if killed != "job":
        process.kill()
    os.kill(job, signal.SIGCONT if killed == "snakemake" else signal.SIGKILL)
    assert process.wait(300) != 0
    assert not project.path(SET).exists()
    project.finish_with_one_call(undisturbed, ALL)
    record = json.loads(project.path(f"{DC}/run.json").read_text())
    assert record["resumed_from"][0] >= 5


def test_a_job_ends_with_its_snakemake(project):
    """It leaves a checkpoint, and the next run waits for it."""
    project.unfinish()
    process = project.start()
    job = project.freeze_at_iteration(5)
    process.kill()
    process.wait()
    os.kill(job, signal.SIGCONT)
    deadline = time.monotonic() + 300
    while jobs(project.root) == [job]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "Snakemake is gone" in project.log()
    assert f"stopped after iteration {iteration(project.path(CHECKPOINT))} of" in project.log()


def test_kill_9_of_snakemake_while_its_job_starts(project, undisturbed):
    """The job ends before it has begun, so that it is not at work beside the next one."""
    project.unfinish()
    process = project.start()
    deadline = time.monotonic() + 300
    while not jobs(project.root):
        assert time.monotonic() < deadline
    (job,) = jobs(project.root)
    os.kill(job, signal.SIGSTOP)  # it imports PyTorch, and has not looked for Snakemake yet
    process.kill()
    process.wait()
    os.kill(job, signal.SIGCONT)
    while jobs(project.root):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not project.path(SET).exists()
    assert "iteration 100/100" not in project.log()
    project.finish_with_one_call(undisturbed)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_sigint(project, undisturbed, times):
    """Ctrl-C reaches Snakemake and its jobs."""
    project.unfinish()
    process = project.start()
    project.freeze_at_iteration(5)
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGCONT)
        time.sleep(0.2)
    assert process.wait(300) != 0
    assert "Traceback" not in project.log()
    project.finish_with_one_call(undisturbed)
    assert json.loads(project.path(f"{DC}/run.json").read_text())["resumed_from"][0] >= 5


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "old time"])
@pytest.mark.parametrize(
    ("name", "again"),
    [
        (SET, [f"{DC}/set", f"{DC}/run.json", f"{DC}/trace.csv"]),
        (ROWS, [f"{DC}/eval"]),
        (ROWS.replace(".csv", ".curve.csv"), [f"{DC}/eval"]),
    ],
    ids=["set", "evaluation", "curve"],
)
def test_a_truncated_file(project, undisturbed, name, again, fresh):
    path = project.path(name)
    truncate(path, fresh)
    if fresh:
        look = project.snakemake("--dry-run", "--cores", "1", "all")
        assert f"{name} is damaged" in look.stderr
        assert path.exists()
    done = project.finish_with_one_call(undisturbed, name, again)
    assert one_line(done.stderr, "is damaged").startswith(name)


@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "old time"])
def test_a_truncated_data_file(project, undisturbed, fresh):
    """It is made again to the same bytes, so that what was made from it stays."""
    project.unfinish()
    data = "results/digits/data.safetensors"
    truncate(project.path(data), fresh)
    done = project.finish_with_one_call(
        undisturbed,
        "all",
        [
            f"{DC}/eval",
            *(f"results/{name}" for name in ("digits/data", "figures", "tables", "report")),
        ],
    )
    assert one_line(done.stderr, "is damaged").startswith(data)


def truncate(path, fresh):
    """Cut off the end of a file, or the last row of a table; with an old time, nobody sees it."""
    content, written = path.read_bytes(), path.stat()
    end = content[:-1].rindex(b"\n") + 1 if path.suffix == ".csv" and fresh else -9
    path.write_bytes(content[:end])
    if not fresh:
        os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))


def test_a_truncated_checkpoint(project, undisturbed):
    project.unfinish()
    process = project.start()
    job = project.freeze_at_iteration(5)
    process.terminate()
    os.kill(job, signal.SIGTERM)
    os.kill(job, signal.SIGCONT)
    process.wait(300)
    content = project.path(CHECKPOINT).read_bytes()
    project.path(CHECKPOINT).write_bytes(content[:-9])
    project.finish_with_one_call(undisturbed)
    assert "starting afresh, the checkpoint cannot be read" in project.log()


def test_a_checkpoint_of_other_settings(project, undisturbed):
    project.unfinish()
    dc = SMALL["condensation"]["dc"]
    project.configure(**{**SMALL, "condensation": {"dc": {**dc, "lr_img": 0.5}}})
    process = project.start()
    os.kill(project.freeze_at_iteration(5), signal.SIGKILL)
    process.wait(300)
    project.configure(**SMALL)
    project.finish_with_one_call(undisturbed)
    assert "starting afresh, the checkpoint was made by other settings" in project.log()


def test_a_loss_that_is_not_a_number(project, undisturbed):
    project.unfinish()
    dc = {**SMALL["condensation"]["dc"], "lr_img": 1e38, "distance": "mse"}
    project.configure(**{**SMALL, "condensation": {"dc": dc}})
    assert project.call().returncode != 0
    assert " in iteration " in one_line(project.log(), "ERROR the loss is ")
    project.configure(**SMALL)
    project.finish_with_one_call(undisturbed)


FAILING_GPU = """
import sys
if "condense.py" in sys.orig_argv[-1]:
    import pathlib, torch
    from dclib.methods import matching
    real, calls = matching.match, []
    def match(*arguments, **options):
        calls.append(0)
        if len(calls) == 12:
            for name in ("clone", "cpu", "detach"):  # after a CUDA error every call fails
                setattr(torch.Tensor, name, failing)
            failing()
        return real(*arguments, **options)
    def failing(*_):
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\\nmore words")
    if pathlib.Path("broken").exists():
        matching.match = match
"""


def test_a_gpu_that_disappears(project, undisturbed):
    """The checkpoint before it stays, although nothing can be copied from the GPU any more."""
    project.unfinish()
    project.path("sitecustomize.py").write_text(FAILING_GPU)
    project.path("broken").touch()
    assert project.call().returncode != 0
    line = one_line(project.log(), "ERROR")
    assert "the device failed (CUDA error: unspecified launch failure)" in line
    last = iteration(project.path(CHECKPOINT))
    assert 10 <= last <= 11  # the twelfth fails, and there is a checkpoint of every iteration
    project.path("broken").unlink()
    project.finish_with_one_call(undisturbed)
    assert json.loads(project.path(f"{DC}/run.json").read_text())["resumed_from"] == [last]


def test_an_unwritable_log(project, undisturbed):
    project.unfinish()
    (project.path(f"{DC}/set.log") / "in the way").mkdir(parents=True)
    done = project.call()
    assert done.returncode != 0
    assert "Is a directory" in one_line(done.stderr, "error: the log")
    shutil.rmtree(project.path(f"{DC}/set.log"))
    project.finish_with_one_call(undisturbed)


def in_a_file_system_of_its_own(project, script):
    """Run a shell script as root of a user namespace, where file systems can be mounted."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-euc"]
    try:
        subprocess.run([*command, "mount -t tmpfs none /mnt"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs user namespaces, which this system does not allow: {error}")
    call = f"{sys.executable} -m snakemake --configfile small.yaml --cores 1 {SET}"
    return subprocess.run(
        [*command, script.replace("CALL", call)],
        cwd=project.root, text=True, capture_output=True, timeout=600, check=False,
    )  # fmt: skip


def test_a_full_disk(project, undisturbed):
    project.unfinish()
    done = in_a_file_system_of_its_own(
        project,
        """
        cp -a results kept
        mount -t tmpfs -o size=1m none results
        cp -a kept/. results
        head -c 2m /dev/zero > results/ballast || true
        truncate -s -16K results/ballast  # enough for the log, not for a checkpoint or all results
        CALL && exit 3
        rm results/ballast
        cp -a results/. kept
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "no checkpoint, going on without: " in done.stderr
    assert "No space left on device" in one_line(done.stderr, "ERROR")
    shutil.rmtree(project.path("results"))
    project.path("kept").rename(project.path("results"))
    project.finish_with_one_call(undisturbed)


def test_a_read_only_folder(project, undisturbed):
    project.unfinish()
    done = in_a_file_system_of_its_own(
        project, "mount --bind results results; mount -o remount,bind,ro results; CALL"
    )
    assert done.returncode != 0
    assert "results: cannot be written (Read-only file system)" in one_line(done.stderr, "error:")
    project.finish_with_one_call(undisturbed)


def test_two_runs_at_once(project, undisturbed):
    project.unfinish()
    process = project.start()
    job = project.freeze_at_iteration(2)
    assert locks.started(project.path("results")) <= time.time()
    second = project.call()
    assert second.returncode != 0
    line = one_line(second.stderr, "error:")
    assert f"results: another run is at work there (process {process.pid} on " in line
    assert project.snakemake("--dry-run", "--cores", "1", SET).returncode == 0
    os.kill(job, signal.SIGCONT)
    assert process.wait(300) == 0, project.path("output").read_text()
    assert locks.started(project.path("results")) is None
    assert project.contents() == undisturbed.contents()
    assert "Nothing to be done" in project.call().stderr
