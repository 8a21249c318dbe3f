"""`make gpu-check` itself, in small and without a GPU."""

import importlib.util
import json
import sys

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def gpu_check():
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "benchmarks/gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if module.GPU:
        pytest.skip("there is a GPU here: `make gpu-check` is to be run itself")
    return module


def run(gpu_check, monkeypatch, folder, checks, minutes=8.0):
    """The exit status of a call that has these checks."""
    monkeypatch.setattr(gpu_check, "checks", lambda: checks)
    arguments = ["gpu_check.py", "--out", str(folder), "--minutes", str(minutes)]
    monkeypatch.setattr(sys, "argv", arguments)
    try:
        gpu_check.main()
    except SystemExit as ended:
        return ended.code or 0
    return 0


CORRECTNESS = [
    "gradient: MLP fp32", "gradient: ConvNet-width4-batchnorm bf16", "bytes: dc MLP bf16",
    "bytes: dc ConvNet-width4-batchnorm fp32", "bytes: evaluation fp32",
    "bytes: evaluation bf16 crop scale rotate noise", "bytes: dd LeNet", "training: dc",
    "training: dsa color crop cutout flip scale rotate",
]  # fmt: skip


@pytest.mark.parametrize("name", CORRECTNESS)
def test_the_path_is_right_in_small(gpu_check, name):
    found = gpu_check.checks()[name]()
    said = {key: value for key, value in found.items() if isinstance(value, bool)}
    assert said
    assert all(said.values()), found


@pytest.mark.parametrize("name", ["time: training step, 10 images", "time: outer step, ipc 1"])
def test_what_is_timed_is_told_of_every_contender(gpu_check, name):
    found = gpu_check.checks()[name]()
    assert "plain" in found or "tf32 1 network" in found or len(found) > 1
    assert all(value > 0 for value in found.values())


def test_a_wrong_result_is_an_exit_status_and_right_ones_are_kept(gpu_check, monkeypatch, tmp_path):
    calls = []

    def check(name, within):
        return lambda: calls.append(name) or {"within": within, "error": 0.5}

    def broken():
        raise RuntimeError("CUDA error")

    checks = {"a": check("a", True), "b": check("b", False), "time: c": broken}
    assert run(gpu_check, monkeypatch, tmp_path, checks) == 1
    text = (tmp_path / "gpu_check.md").read_text()
    assert text.count("**WRONG**") == 1
    assert "| c | **RuntimeError: CUDA error** |" in text
    with (tmp_path / "gpu_check.jsonl").open("a") as stream:
        stream.write('{"check": "b", "wh')  # a call that was killed
    checks |= {"b": check("b", True), "time: c": lambda: calls.append("c") or {"x": 1.0}}
    assert run(gpu_check, monkeypatch, tmp_path, checks) == 0
    assert calls == ["a", "b", "b", "c"]
    assert "WRONG" not in (tmp_path / "gpu_check.md").read_text()
    kept = (tmp_path / "gpu_check.jsonl").read_text().splitlines()
    assert [json.loads(line)["check"] for line in kept] == ["a", "b", "time: c", "b", "time: c"]


def test_what_is_launched_one_by_one_is_not_asked_for_a_recording(gpu_check, monkeypatch):
    """As on a card, where plain functions stand in the place of recordings."""
    monkeypatch.setattr(gpu_check, "GPU", True)
    with gpu_check.Recordings(eager=True) as recordings:
        gpu_check.graphs.Repeated(lambda: None, gpu_check.DEVICE)
    assert recordings.all_recorded()
    with gpu_check.Recordings() as recordings:
        gpu_check.graphs.Repeated(lambda: None, gpu_check.DEVICE)
    assert not recordings.all_recorded()


def test_what_is_left_is_another_exit_status(gpu_check, monkeypatch, tmp_path):
    checks = {"a": lambda: {"within": True}}
    assert run(gpu_check, monkeypatch, tmp_path, checks, minutes=-1) == 3
    assert run(gpu_check, monkeypatch, tmp_path, checks) == 0
