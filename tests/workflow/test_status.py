"""What `make status` prints of a grid: every state, from the files alone."""

import itertools
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from pipeline import clone, folder

from dclib import runner
from dclib.pipeline import locks, start
from dclib.pipeline import status as page_of
from dclib.pipeline.staleness import Staleness
from dclib.pipeline.status import Report

GRID = {
    "datasets": ["digits"],
    "methods": ["random", "dc", "herding"],
    "seeds": [0, 1],
    "reference_network": {"epochs": 1},
    "condensation": {"dc": {"iterations": 2, "real_batch": 8}},
}
DC, OTHER = (f"results/{folder('digits', 'dc', seed)}" for seed in (0, 1))
REFERENCE = "results/digits/reference/ConvNet-width4"
ROWS = f"{OTHER}/eval/ConvNet-width4.csv"


def status(project):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "workflow_scripts.status", "small.yaml"],
        cwd=project.root, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert re.search(r"\|\s+json$", done.stderr, re.M)
    assert not re.search(r"\|\s+torch$", done.stderr, re.M)  # it answers at once
    return done.stdout


def row(text, *words):
    """The cells of the row that begins with `words`; states without a count are left out."""
    (line,) = (line for line in text.splitlines() if line.split()[: len(words)] == list(words))
    return line.split()


def counts(text):
    """What the row of `dc` says by column."""
    lines = text.splitlines()
    ends = {name: lines[0].index(name) + len(name) for name in STATES if name in lines[0]}
    (line,) = (line for line in lines if line.split()[:2] == ["digits", "dc"])
    return {
        name: int(number)
        for name, end in ends.items()
        if (number := line[:end].split(" ")[-1]).isdigit()
    }


STATES = ("running", "stale", "missing", "failed")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    project = clone(tmp_path_factory.mktemp("status"))
    project.configure(**GRID)
    project.snakemake("--cores", "2", "results/tables/evaluations.csv")
    return project


@pytest.fixture
def project(finished, tmp_path):
    return finished.copy(tmp_path / "project")


def test_done(finished):
    text = status(finished)
    assert "2/2" in text
    assert counts(text) == {}
    assert row(text, "all")[1:3] == ["6/6", "5/5"]
    assert row(text, "digits", "reference")[2:4] == ["all", "1/1"]
    assert "failed:" not in text
    assert "no run is at work" in text


def test_missing(project):
    shutil.rmtree(project.root / DC)
    text = status(project)
    assert counts(text) == {"missing": 2}
    assert row(text, "digits", "dc")[3:5] == ["1/2", "1/2"]
    assert row(text, "all")[-1] != "?"  # from the seconds of the other seed
    shutil.rmtree(project.root / OTHER)
    assert row(status(project), "digits", "dc")[-1] == "?"


def test_stale_settings(project):
    project.configure(**{**GRID, "condensation": {"dc": {"iterations": 2, "lr_img": 0.5}}})
    text = status(project)
    assert counts(text) == {"stale": 4}
    assert row(text, "digits", "random")[3:5] == ["2/2", "2/2"]
    assert f"  {DC}/set.safetensors\n" in text
    assert "its set: stale" in text


def test_stale_code(project):
    project.edit("dclib/applications/evaluation/evaluate.py", "100 * correct", "100.0 * correct")
    text = status(project)
    assert counts(text) == {"stale": 2}
    assert row(text, "all")[1:3] == ["6/6", "0/5"]


def test_a_stale_reference_network(project):
    """And with it what was chosen by it."""
    project.configure(**{**GRID, "reference_network": {"epochs": 2}})
    text = status(project)
    assert counts(text) == {}  # nothing of dc
    assert f"  {REFERENCE}/network.safetensors\n" in text
    assert text.count("its reference network: stale") == 1
    assert text.count("its set: stale") == 1
    shutil.rmtree(project.root / REFERENCE)
    text = status(project)
    assert text.count("its reference network: missing") == 1
    assert row(text, "digits", "reference")[-1] == "?"


def test_stale_by_another_set(project):
    """A set in the place of another one."""
    shutil.copyfile(project.root / DC / "set.safetensors", project.root / OTHER / "set.safetensors")
    text = status(project)
    assert counts(text) == {"missing": 1, "stale": 1}
    assert "set.safetensors is damaged: its bytes are not those that were written" in text
    assert f"stale:\n  {ROWS}\n" in text


def test_a_touched_set_is_not_stale(project):
    (project.root / OTHER / "set.safetensors").touch()
    assert counts(status(project)) == {}


def test_damaged(project):
    path = project.root / ROWS
    path.write_bytes(path.read_bytes()[:-5])
    text = status(project)
    assert counts(text) == {"missing": 1}
    assert "ConvNet-width4.csv is damaged: its last line is cut short" in text


def test_failed(project):
    place = project.root / OTHER
    (place / "set.safetensors").unlink()
    log = place / "set.log"
    log.write_text(
        "2026-01-01 10:00:00,123 INFO started\n"
        "2026-01-01 10:00:01,123 ERROR rule condense failed\n"
        "Traceback (most recent call last):\n  File\nValueError: the last word\n"
    )
    text = status(project)
    assert counts(text) == {"failed": 1, "stale": 1}
    assert f"failed:\n  {log.relative_to(project.root)}\n" in text
    assert "      ValueError: the last word\n" in text
    assert "its set: missing" in text


def test_running_and_stopped(project):
    """A log without results is of a running job, if it was written since the run began."""
    place = project.root / OTHER
    (place / "set.safetensors").unlink()
    (place / "checkpoint.safetensors").touch()
    log = place / "set.log"
    log.write_text(
        "2026-01-01 10:00:00,123 INFO iteration 1/2 loss 3.5 3.3 s each, 3 s left\n"
        "2026-01-01 10:00:09,123 INFO checkpoint after iteration 1\n"
    )
    text = status(project)
    assert counts(text) == {"missing": 1, "stale": 1}
    assert "goes on from its checkpoint" in text
    results = str(project.root / "results")
    hold = f"from dclib.pipeline import locks; locks.hold_run({results!r}); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=project.root, stdin=subprocess.PIPE
    ) as run:
        deadline = time.monotonic() + 60
        while locks.started(project.root / "results") is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = time.time() - 100
        os.utime(log, (before, before))
        os.utime(place / "checkpoint.safetensors", (before, before))
        assert counts(status(project)) == {"missing": 1, "stale": 1}  # of the run before
        (place / "checkpoint.safetensors").touch()
        text = status(project)
        assert counts(text) == {"running": 1, "stale": 1}
        assert "iteration 1/2 loss 3.5" in text
        assert "a run is at work, since" in text
        run.communicate(b"\n")
    assert "no run is at work" in status(project)


def test_it_fits_a_terminal(tmp_path):
    """Paths alone stay on one line, to be copied; what is missing can be worked out."""
    plan, _ = start.plan(ROOT, [], {"results_dir": str(tmp_path)}, look=False)
    jobs = [job for job in plan.of_grid() if job.rule != "prepare"]
    states = itertools.cycle(page_of.STATES)
    reports = [Report(job, next(states), "a word " * 30) for job in jobs]
    narrow, wide = (page_of.page(reports, 1.0, width).splitlines() for width in (80, None))
    assert max(len(line) for line in narrow if str(tmp_path) not in line) <= 80
    assert {*narrow[0].split()} >= {"sets", "tested", "left", "failed", "stale"}
    assert {*wide[0].split()} >= {"test", *page_of.STATES[1:]}
    assert " ".join(narrow).count(" word") == " ".join(wide).count(" word")


def test_what_runs_tells_what_is_left(tmp_path):
    """Also of what is like it, as long as none of that is finished."""
    plan, _ = start.plan(ROOT, [], {"results_dir": str(tmp_path)}, look=False)
    cells = [
        job for job in plan.of_grid()
        if job.rule == "condense" and job.cell["dataset"] == "MNIST" and job.cell["ipc"] == "1"
    ]  # fmt: skip
    progress = runner.Progress(250, [12.1] * 250, 500.0)
    far = runner._line("MNIST dc ConvNet 1 0", progress, 1000, 2.0)
    running, untold = Report(cells[0], "running", far), Report(cells[1], "running", "reading")
    waiting = [Report(job, "missing") for job in cells[2:4]]
    assert page_of.summary([running], 1.0)["seconds_left"] == 1500
    assert page_of.summary([running, untold, *waiting], 1.0)["seconds_left"] == 1500 + 3 * 2000
    assert page_of.summary([untold, *waiting], 1.0)["seconds_left"] is None
    record = cells[4].files.record
    Path(record).parent.mkdir(parents=True)
    Path(record).write_text('{"seconds": 1800.0}')
    finished = Report(cells[4], "done")
    known = page_of.summary([finished, running, untold, *waiting], 1.0)
    assert known["seconds_left"] == 1500 + 3 * 1800


def test_a_log_of_whatever_is_no_end_of_it(tmp_path):
    more = {
        **dict.fromkeys(("table2", "cross_architecture", "ablations")), "datasets": ["digits"],
        "methods": ["random"], "images_per_class": [1], "seeds": [0], "results_dir": str(tmp_path),
    }  # fmt: skip
    plan, hashes = start.plan(ROOT, [], more, look=False)
    jobs = [job for job in plan.of_grid() if job.rule != "prepare"]
    logs = [tmp_path / job.files.log for job in jobs]
    logs[1].mkdir(parents=True)
    logs[0].write_bytes(b"2026-01-01 10:00:00,123 ERROR \xff\n")  # another's words, or cut off
    reports = page_of.survey(plan, Staleness(plan, hashes), None)
    assert [report.state for report in reports][:2] == ["failed", "missing"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"datasets: [MNITS]\n", "did you mean 'MNIST'?"),
        (b"", "small.yaml is not a config in YAML: it has no lines 'KEY: VALUE'"),
        (b"- datasets\n", "small.yaml is not a config in YAML: it has no lines 'KEY: VALUE'"),
        (b"a: [\n\tb", "small.yaml is not a config in YAML: while "),
        (b"a: \xff\n", "small.yaml is not a config in YAML: 'utf-8' codec"),
        (
            b"datasets: [{name: own, source: folder, path: nowhere}]\n",
            "nowhere is not a folder",
        ),
    ],
)
def test_a_wrong_config_is_said_in_one_line(project, content, message):
    (project.root / "small.yaml").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.status", "small.yaml"],
        cwd=project.root, text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
