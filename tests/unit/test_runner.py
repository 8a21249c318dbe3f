"""A computation that is killed or interrupted ends with the bytes of an undisturbed one."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from conftest import ROOT

from dclib import runner
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError
from dclib.methods import Method, Resumable
from dclib.methods.dc import method as gradient_matching
from dclib.methods.dc.method import GradientMatching, Settings
from dclib.seeding import Streams
from dclib.tensors import read_metadata

ITERATIONS = 60
CONDENSE = """
import logging, sys, torch
logging.basicConfig(level=logging.INFO)
from dclib import runner
from dclib.data import readers
from dclib.methods.dc.method import GradientMatching, Settings
from dclib.seeding import Streams
torch.set_num_threads(1)
settings = Settings(iterations=int(sys.argv[2]), outer_steps=2, inner_epochs=3, real_batch=16)
runner.run(
    GradientMatching("ConvNet-width8-batchnorm", settings, torch.device("cpu")),
    readers.read("digits"), 2, Streams("digits", 0), sys.argv[1],
    metadata={"dataset": "digits", "method": "dc", "ipc": 2}, digest="d",
    checkpoint_seconds=float(sys.argv[3]), description="cell",
)
"""


class Process(subprocess.Popen):
    """A condensation of the digits in a process of its own, with its log beside its folder."""

    def __init__(self, folder, every=0.0):
        self.log = folder.with_suffix(".log")
        with self.log.open("w") as stream:
            super().__init__(
                [sys.executable, "-c", CONDENSE, str(folder), str(ITERATIONS), str(every)],
                cwd=ROOT,
                stderr=stream,
            )

    def finish(self, code=0):
        assert self.wait(300) == code, self.log.read_text()

    def wait_until(self, condition):
        deadline = time.monotonic() + 120
        while not condition():
            assert self.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)


def iteration(folder):
    path = folder / "checkpoint.safetensors"
    return read_metadata(path)["progress"]["iteration"] if path.exists() else -1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    Process(folder).finish()
    return folder


def same(folder, undisturbed):
    names = ["set.safetensors", "trace.csv", "set.png"]
    assert not (folder / "checkpoint.safetensors").exists()
    return all((folder / n).read_bytes() == (undisturbed / n).read_bytes() for n in names)


def test_kill_at_several_moments_changes_no_byte(undisturbed, tmp_path):
    kills = []
    for moment in (1, 7, 8, 20, 40):
        process = Process(tmp_path)
        process.wait_until(lambda m=moment: iteration(tmp_path) >= m)
        process.kill()
        process.wait()
        kills.append(iteration(tmp_path))
    assert not (tmp_path / "set.safetensors").exists()
    Process(tmp_path).finish()
    assert same(tmp_path, undisturbed)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["resumed_from"] == kills
    assert record["iterations"] == ITERATIONS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_leave_a_checkpoint(undisturbed, tmp_path, number):
    process = Process(tmp_path, every=1e9)  # no checkpoint but the last
    process.wait_until(lambda: "iteration 1/" in process.log.read_text())
    process.send_signal(number)
    process.finish(128 + number)
    assert iteration(tmp_path) >= 1
    assert "Traceback" not in process.log.read_text()
    Process(tmp_path).finish()
    assert same(tmp_path, undisturbed)


def test_an_interrupted_step_is_done_again_as_it_was(digits, tmp_path):
    """A signal in the middle of a step must not leave half of it in the checkpoint."""
    settings = Settings(iterations=5, outer_steps=2, inner_epochs=2, real_batch=8)

    class Disturbed(GradientMatching):
        def step(self, state):
            steps = state.steps = state.steps or gradient_matching._Steps(self, state)
            train = gradient_matching._Steps.train

            def disturbed(epochs):
                train(steps, epochs)  # half an iteration
                trained.append(epochs)
                if len(trained) == 3:
                    os.kill(os.getpid(), signal.SIGTERM)

            steps.train = disturbed
            return super().step(state)

    trained = []

    def run(kind, folder):
        return runner.run(
            kind("ConvNet-width8", settings, torch.device("cpu")), digits, 1, Streams("cell"),
            folder, metadata={"dataset": "digits"}, digest="d",
        )  # fmt: skip

    plain = run(GradientMatching, tmp_path / "plain")
    with pytest.raises(runner.Interrupted):
        run(Disturbed, tmp_path / "disturbed")
    assert iteration(tmp_path / "disturbed") == 2
    resumed = run(Disturbed, tmp_path / "disturbed")
    assert torch.equal(plain.images, resumed.images)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def _checkpoint(folder, digits, settings, digest="d"):
    method = GradientMatching("MLP", settings, torch.device("cpu"))
    state = method.start(digits, 1, Streams("cell"))
    return runner.iterate(
        method.step, state, settings.iterations,
        checkpoint=folder / "c.safetensors", digest=digest, checkpoint_seconds=0,
    )  # fmt: skip


@pytest.mark.parametrize("damage", ["truncated", "empty", "other digest", "text"])
def test_a_checkpoint_that_does_not_fit_is_not_resumed(digits, tmp_path, damage, caplog):
    settings = Settings(iterations=4, real_batch=8)
    first = _checkpoint(tmp_path, digits, settings)
    path = tmp_path / "c.safetensors"
    assert read_metadata(path)["progress"]["iteration"] == 3
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-9])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("checkpoint")
    again = _checkpoint(tmp_path, digits, settings, "x" if damage == "other digest" else "d")
    assert again.resumed_from == []
    assert again.losses == first.losses
    assert "starting afresh" in caplog.text


def test_a_whole_checkpoint_is_resumed(digits, tmp_path):
    first = _checkpoint(tmp_path, digits, Settings(iterations=4, real_batch=8))
    again = _checkpoint(tmp_path, digits, Settings(iterations=4, real_batch=8))
    assert again.resumed_from == [3]
    assert again.losses == first.losses


@pytest.mark.parametrize("other", ["settings", "network", "ipc", "stream", "statistics"])
def test_a_checkpoint_of_another_run_is_not_resumed(digits, tmp_path, other, caplog):
    """Also without a digest, as the library is used by itself."""

    class Disturbed(GradientMatching):
        def step(self, state):
            if self.iterations == 2:
                raise KeyboardInterrupt
            self.iterations = 2
            return super().step(state)

    cpu = torch.device("cpu")
    settings = Settings(iterations=3, real_batch=8)
    with pytest.raises(KeyboardInterrupt):
        runner.run(Disturbed("MLP", settings, cpu), digits, 1, Streams(0), tmp_path, metadata={})
    assert iteration(tmp_path) == 1
    changed = dataclasses.replace(settings, lr_img=0.2) if other == "settings" else settings
    network = "ConvNet-width4" if other == "network" else "MLP"
    data = dataclasses.replace(digits, mean=(0.2,)) if other == "statistics" else digits
    runner.run(
        GradientMatching(network, changed, cpu), data, 2 if other == "ipc" else 1,
        Streams(1 if other == "stream" else 0), tmp_path, metadata={},
    )  # fmt: skip
    assert "starting afresh" in caplog.text


def test_images_that_are_not_finite_are_not_written(digits, tmp_path):
    class Exploding(GradientMatching):
        def step(self, state):
            metrics = super().step(state)
            state.images[3] = torch.inf
            return metrics

    settings = Settings(iterations=1, real_batch=8)
    method = Exploding("MLP", settings, torch.device("cpu"))
    with pytest.raises(InputError, match="not all finite"):
        runner.run(method, digits, 1, Streams(0), tmp_path, metadata={})
    assert not (tmp_path / "set.safetensors").exists()


def test_a_loss_that_is_not_finite_ends_in_one_line(digits, tmp_path):
    settings = Settings(iterations=50, real_batch=8, lr_img=1e38, distance="mse")
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in iteration .*too large"):
        _checkpoint(tmp_path, digits, settings)


def test_what_a_run_writes(undisturbed):
    written = SyntheticSet.load(undisturbed / "set.safetensors")
    assert written.images.shape == (20, 1, 8, 8)
    assert written.metadata["class_names"] == list("0123456789")
    assert set(written.metadata) >= {"dataset", "method", "ipc", "mean", "std", "versions"}
    record = json.loads((undisturbed / "run.json").read_text())
    assert record["seconds"] > 0
    assert record["peak_memory_mib"] > 50
    assert record["device"].startswith("cpu")
    assert record["resumed_from"] == []
    trace = pd.read_csv(undisturbed / "trace.csv")
    assert trace["iteration"].tolist() == list(range(1, ITERATIONS + 1))
    assert trace["loss"].iloc[-5:].mean() < trace["loss"].iloc[:5].mean()
    assert (undisturbed / "set.png").stat().st_size > 1000


def test_the_method_has_the_interface(digits):
    method = GradientMatching("MLP", Settings(), torch.device("cpu"))
    assert isinstance(method, Method)
    assert isinstance(method.start(digits, 1, Streams("cell")), Resumable)


def test_streams_are_independent_and_resumable():
    first, second = Streams("cell", 1), Streams("cell", 1)
    torch.rand(1000, generator=second["other"])  # does not move "a"
    assert first.seed("a") == second.seed("a")
    assert first.seed("a") != Streams("cell", 2).seed("a")
    assert first.seed("b") != first.seed("c")
    saved = first.state_dict()
    expected = [first.seed("a") for _ in range(3)]
    restored = Streams("cell", 1)
    restored.load_state_dict(saved)
    assert [restored.seed("a") for _ in range(3)] == expected


def test_a_checkpoint_that_cannot_be_written(digits, tmp_path, caplog):
    """The computation goes on: what it has in memory is all the more worth keeping."""
    (tmp_path / "file").touch()
    progress = _checkpoint(tmp_path / "file", digits, Settings(iterations=3, real_batch=8))
    assert progress.iteration == 3
    assert "no checkpoint, going on without: " in caplog.text
    assert "c.safetensors: cannot be written (" in caplog.text


def test_a_failing_device_leaves_the_checkpoint_before_it(digits, tmp_path, caplog):
    """After a CUDA error nothing can be copied from the device, and the error itself is told."""
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    class Lost(torch.Tensor):
        def detach(self):
            raise error

    class Disturbed(GradientMatching):
        steps = 0

        def step(self, state):
            if self.steps == self.good_steps:
                raise self.error
            metrics = super().step(state)
            self.steps += 1
            if self.error is error:
                state.images = state.images.as_subclass(Lost)
            return metrics

    def run(good_steps, raised):
        Disturbed.good_steps, Disturbed.error = good_steps, raised
        method = Disturbed("MLP", Settings(iterations=9, real_batch=8), torch.device("cpu"))
        runner.run(method, digits, 1, Streams(0), tmp_path, metadata={})

    with pytest.raises(KeyboardInterrupt):
        run(2, KeyboardInterrupt)
    assert iteration(tmp_path) == 2
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        run(1, error)
    assert iteration(tmp_path) == 2
    assert "no checkpoint, the one before stays" in caplog.text
