"""The command `dclib`: what becomes of its words, and what it writes; tests/workflow runs it."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from dclib.errors import InputError
from dclib.pipeline import command, settings
from dclib.pipeline.paths import WORKFLOW

OURS = ["--snakefile", str(WORKFLOW / "Snakefile"), "--configfile", "dclib.yaml"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command.init(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        "--cores 1 --resources gpu=1 all",
        "--resources gpu=1 all --cores 1",
        "all --resources gpu=1 --cores 1",
        "--resources gpu=1 --cores 1 -- all",
        "--core 1 --res gpu=1 all",
    ],
)
def test_a_target_may_stand_anywhere(here, words):
    """Snakemake itself takes it for a resource, or refuses it."""
    from snakemake.cli import get_argument_parser

    given = get_argument_parser().parse_args(command.arranged(words.split()))
    gpus = given.resources["gpu"].value
    found = [*given.targets], str(given.cores), [*map(str, given.configfile)], gpus
    assert found == (["all"], "1", ["dclib.yaml"], 1)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", [*OURS, "--cores", "all"]),
        ("-c4 -np", [*OURS, "-c4", "-np"]),
        ("table1 -j 2 figures", [*OURS, "-j", "2", "--", "table1", "figures"]),
        (
            "--configfile a.yaml b.yml all -n",
            [*OURS[:2], "--cores", "all", "--configfile", "a.yaml", "b.yml", "-n", "--", "all"],
        ),
        (
            "--config a=1 results/x.png --profile p",
            [*OURS, "--config", "a=1", "--profile", "p", "--", "results/x.png"],
        ),
        ("--forcerun select -c 1", [*OURS, "--forcerun", "select", "-c", "1"]),
        ("--snakefile other -c 1 --resources=x=1 all",
         ["--snakefile", "other", "-c", "1", "--resources=x=1", "--", "all"]),
        ("--report r.zip -c 1 all", [*OURS, "--report", "r.zip", "-c", "1", "--", "all"]),
    ],
)  # fmt: skip
def test_words(here, words, expected):
    assert command.arranged(words.split()) == expected


def test_the_grid_to_begin_with(here):
    """It is no other than the paper's but for what it says, and nothing is overwritten."""
    content = (here / "dclib.yaml").read_text()
    assert content == (WORKFLOW / "config/start.yaml").read_text()
    assert yaml.safe_load(content)["datasets"] == ["digits"]
    settings.load([WORKFLOW / "config.yaml", here / "dclib.yaml"])
    with pytest.raises(InputError, match=r"dclib\.yaml: is there already"):
        command.init(here)
    (here / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        command.init(here / "file/below")


def test_no_grid_is_begun_by_mistake(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="`dclib init` writes one"):
        command.arranged(["all"])
    assert command.arranged(["--help"])[-1] == "--help"
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install '\.\[workflow\]'"):
        command.run([])


def test_status_again_and_again(here, monkeypatch, capsys):
    """A line of JSON a look, until everything is done."""
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            monkeypatch.setattr(command.status, "survey", lambda *arguments: [])

    monkeypatch.setattr(command.time, "sleep", sleep)
    monkeypatch.setattr("sys.argv", ["dclib", "status", "--json", "--watch", "0.5"])
    command.main()
    first, second, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert looks == [0.5, 0.5]
    assert first == second
    assert first["counts"]["missing"] == len(first["jobs"]) == 9
    assert first["run_since"] is None
    assert first["seconds_left"] is None
    rules = [job["rule"] for job in first["jobs"]]
    assert {"select", "condense", "evaluate"} == {*rules}
    assert last["jobs"] == []
    assert last["seconds_left"] == 0


def test_a_reader_that_is_gone(here):
    """As of `| head`: no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    ask = [sys.executable, "-m", "workflow_scripts.status", str(here / "dclib.yaml")]
    done = subprocess.run(ask, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_watch_is_ended_by_ctrl_c(here, monkeypatch, capsys):
    def sleep(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", sleep)
    command.show_status([], False, 5.0)
    assert "no run is at work" in capsys.readouterr().out


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf", "x"])
def test_seconds_that_cannot_be_waited(seconds, capsys):
    with pytest.raises(SystemExit):
        command.status_options().parse_args([f"--watch={seconds}"])
    assert f"'{seconds}' is no number of seconds above 0" in capsys.readouterr().err
