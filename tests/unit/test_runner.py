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

from dclib import methods, runner
from dclib.applications.evaluation import settings as evaluation
from dclib.applications.evaluation.evaluate import Evaluation
from dclib.data.synthetic import SyntheticSet
from dclib.errors import Damaged, InputError
from dclib.files import read_metadata
from dclib.methods.dc import method as gradient_matching
from dclib.methods.dc.method import GradientMatching
from dclib.methods.dc.settings import Settings
from dclib.methods.dd import settings as dd
from dclib.methods.dd.method import DatasetDistillation
from dclib.runner import Iterative, Resumable
from dclib.seeding import Streams
from dclib.teachers.reference import settings as reference
from dclib.teachers.reference.teacher import Training
from dclib.tensors import read_sealed, read_tensors, write_sealed, write_tensors

CPU = torch.device("cpu")
ITERATIONS = 60
CONDENSE = """
import logging, sys, torch
logging.basicConfig(level=logging.INFO)
from pathlib import Path
from dclib import files, runner
from dclib.data import sources
from dclib.methods.dc.method import create
from dclib.methods.dc.settings import Settings
from dclib.seeding import Streams
torch.set_num_threads(1)
settings = Settings(iterations=int(sys.argv[2]), outer_steps=2, inner_epochs=3, real_batch=16)
digits = sources.read({"name": "digits", "source": "digits"})
folder = Path(sys.argv[1])
made, progress = runner.run(
    create("ConvNet-width8-batchnorm", settings, digits, 2, torch.device("cpu")),
    Streams("digits", 0), checkpoint=folder / "checkpoint.safetensors", digest="d",
    checkpoint_seconds=float(sys.argv[3]), description="cell",
)
made.save(folder / "set.safetensors")
made.save_png(folder / "set.png")
files.write_text(folder / "trace.csv", progress.trace())
files.write_json(folder / "progress.json", vars(progress))
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
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert progress["resumed_from"] == kills
    assert progress["iteration"] == ITERATIONS


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
            steps = state.steps = state.steps or gradient_matching.Steps(self, state)
            train = gradient_matching.Steps.train

            def disturbed(epochs):
                train(steps, epochs)  # half an iteration
                trained.append(epochs)
                if len(trained) == 3:
                    os.kill(os.getpid(), signal.SIGTERM)

            steps.train = disturbed
            return super().step(state)

    trained = []

    def make(kind, folder):
        return run(kind("ConvNet-width8", settings, digits, 1, CPU), folder)[0]

    plain = make(GradientMatching, tmp_path / "plain")
    with pytest.raises(runner.Interrupted):
        make(Disturbed, tmp_path / "disturbed")
    assert iteration(tmp_path / "disturbed") == 2
    resumed = make(Disturbed, tmp_path / "disturbed")
    assert torch.equal(plain.images, resumed.images)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def run(work, folder, streams="cell", digest="d", every=60.0):
    return runner.run(
        work, Streams(streams), checkpoint=folder / "checkpoint.safetensors", digest=digest,
        checkpoint_seconds=every,
    )  # fmt: skip


def checkpointed(folder, digits, settings, digest="d"):
    """Run with a checkpoint after each step; return its progress."""
    return run(GradientMatching("MLP", settings, digits, 1, CPU), folder, "cell", digest, 0)[1]


@pytest.mark.parametrize("damage", ["truncated", "empty", "other digest", "text", "flipped"])
def test_a_checkpoint_that_does_not_fit_is_not_resumed(digits, tmp_path, damage, caplog):
    settings = Settings(iterations=4, real_batch=8)
    first = checkpointed(tmp_path, digits, settings)
    path = tmp_path / "checkpoint.safetensors"
    assert read_metadata(path)["progress"]["iteration"] == 3
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:-9])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("checkpoint")
    elif damage == "flipped":  # one bit of an image
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    again = checkpointed(tmp_path, digits, settings, "x" if damage == "other digest" else "d")
    assert again.resumed_from == []
    assert again.losses == first.losses
    assert "starting afresh" in caplog.text


def test_a_whole_checkpoint_is_resumed(digits, tmp_path):
    first = checkpointed(tmp_path, digits, Settings(iterations=4, real_batch=8))
    again = checkpointed(tmp_path, digits, Settings(iterations=4, real_batch=8))
    assert again.resumed_from == [3]
    assert again.losses == first.losses


SHORT = {"outer_steps": 2, "inner_epochs": 1, "real_batch": 8}
EVERY_METHOD = {
    "dc": {**SHORT, "augmentation": ("crop", "color"), "factor": 2},
    "dd": {"real_batch": 16},
    "dm": {"real_batch": 8},
    "dsa": SHORT,
    "idc": {**SHORT, "net_images": 70, "synthetic_batch": 3},
}


@pytest.mark.parametrize("method", [n for n in methods.names() if methods.face(n).kind == "learnt"])
def test_every_method_goes_on_to_the_same_bytes(digits, tmp_path, method):
    """Whatever changes between two steps is in the state: images, momenta, random streams."""
    settings = methods.face(method).settings(iterations=4, **EVERY_METHOD[method])

    def work(stop=None):
        made = methods.body(method).create("ConvNet-width8", settings, digits, 1, CPU)
        step, done = made.step, []

        def disturbed(state):
            if len(done) == stop:
                raise KeyboardInterrupt
            done.append(1)
            return step(state)

        made.step = disturbed
        return made

    whole, progress = run(work(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(work(stop=2), tmp_path / "parts", every=0)
    resumed, again = run(work(), tmp_path / "parts")
    assert again.resumed_from == [2]
    assert again.losses == progress.losses
    assert torch.equal(whole.images, resumed.images)
    for name, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[name])


def more(work, folder, **options):
    """Run without an interruption, and leave what a longer run goes on from."""
    return runner.run(
        work, Streams("cell"), checkpoint=folder / "checkpoint.safetensors",
        kept=folder / "state.safetensors", **options,
    )  # fmt: skip


def test_more_iterations_go_on_to_the_same_bytes(digits, tmp_path, caplog):
    steps = []

    class Counted(GradientMatching):
        def step(self, state):
            steps.append(self.iterations)
            return super().step(state)

    def work(iterations, **changes):
        settings = Settings(iterations=iterations, real_batch=8, outer_steps=2, **changes)
        return Counted("ConvNet-width4", settings, digits, 2, CPU)

    caplog.set_level("INFO")
    whole, trace = more(work(5), tmp_path / "whole")
    more(work(3), tmp_path)
    steps.clear()
    made, progress = more(work(5), tmp_path)
    assert steps == [5, 5]
    assert made.fingerprint == whole.fingerprint
    assert progress.trace() == trace.trace()
    assert progress.resumed_from == [3]
    # Two are no part of five, and other settings are another computation: nothing to warn of.
    for other in (work(2), work(6, lr_img=0.2)):
        steps.clear()
        more(other, tmp_path / "other")
        expected = more(other, tmp_path)[0]
        assert steps == 2 * other.iterations * [other.iterations]
        assert expected.fingerprint == more(other, tmp_path / "other")[0].fingerprint
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_what_is_furthest_is_gone_on_from_and_kept(digits, tmp_path):
    """After a run of fewer iterations, and one of those that was cut short."""

    class Interrupted(GradientMatching):
        def step(self, state):
            if self.iterations == 4 and self.steps == 2:
                raise KeyboardInterrupt
            self.steps += 1
            return super().step(state)

        steps = 0

    def work(iterations):
        settings = Settings(iterations=iterations, real_batch=8)
        return Interrupted("MLP", settings, digits, 1, CPU)

    state = tmp_path / "state.safetensors"
    whole, _ = more(work(6), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        more(work(4), tmp_path)
    assert iteration(tmp_path) == 2
    again, progress = more(work(6), tmp_path)  # nothing is done
    assert again.fingerprint == whole.fingerprint
    assert (progress.iteration, progress.resumed_from) == (6, [])
    (tmp_path / "checkpoint.safetensors").unlink()
    more(work(3), tmp_path)
    assert read_metadata(state)["progress"]["iteration"] == 6


def test_more_networks_go_on_and_fewer_are_the_first(digits, tmp_path):
    trained = []

    class Counted(Evaluation):
        def _train_and_test(self, seeds):
            trained.extend(seeds)
            return super()._train_and_test(seeds)

    chosen = SyntheticSet.like(digits, digits.normalise(digits.train_images[:10]), torch.arange(10))

    def evaluate(models, folder, together=1, **changes):
        settings = evaluation.Settings(models=models, epochs=2, curve_points=2, **changes)
        work = Counted("ConvNet-width4", settings, digits, chosen, CPU)
        work.together = together
        trained.clear()
        results, progress = more(work, folder, first_of_more=True)
        assert progress.iteration == models
        rows = results.rows.drop(columns="seconds")
        return rows.to_csv(), results.curve.to_csv(), len(trained)

    rows, curve, _ = evaluate(5, tmp_path / "whole")
    first, first_curve, _ = evaluate(2, tmp_path / "first")
    assert rows.startswith(first)
    assert evaluate(2, tmp_path) == (first, first_curve, 2)
    assert evaluate(5, tmp_path) == (rows, curve, 3)
    assert evaluate(2, tmp_path) == (first, first_curve, 0)
    assert evaluate(5, tmp_path) == (rows, curve, 0)
    assert evaluate(2, tmp_path, lr=0.02)[2] == 2
    # However many a step trains.
    side_by_side = [evaluate(models, tmp_path / "gpu", 4)[2] for models in (3, 9, 4)]
    assert side_by_side == [3, 6, 0]


@pytest.mark.parametrize("other", ["settings", "network", "ipc", "stream", "statistics"])
def test_a_checkpoint_of_another_run_is_not_resumed(digits, tmp_path, other, caplog):
    """Also without a digest, as the library is used by itself."""

    class Disturbed(GradientMatching):
        def step(self, state):
            if state.steps:
                raise KeyboardInterrupt
            return super().step(state)

    settings = Settings(iterations=3, real_batch=8)
    with pytest.raises(KeyboardInterrupt):
        run(Disturbed("MLP", settings, digits, 1, CPU), tmp_path, digest="")
    assert iteration(tmp_path) == 1
    changed = dataclasses.replace(settings, lr_img=0.2) if other == "settings" else settings
    network = "ConvNet-width4" if other == "network" else "MLP"
    data = dataclasses.replace(digits, mean=(0.2,)) if other == "statistics" else digits
    work = GradientMatching(network, changed, data, 2 if other == "ipc" else 1, CPU)
    run(work, tmp_path, "other" if other == "stream" else "cell", digest="")
    assert "starting afresh" in caplog.text


def test_images_that_are_not_finite_are_not_written(digits, tmp_path):
    class Exploding(GradientMatching):
        def step(self, state):
            metrics = super().step(state)
            state.images[3] = torch.inf
            return metrics

    settings = Settings(iterations=1, real_batch=8)
    made, _ = run(Exploding("MLP", settings, digits, 1, CPU), tmp_path)
    with pytest.raises(InputError, match="images are not all finite, there are infinite numbers"):
        made.save(tmp_path / "set.safetensors")
    assert not (tmp_path / "set.safetensors").exists()


def test_a_loss_that_is_not_finite_ends_in_one_line(digits, tmp_path):
    settings = Settings(iterations=50, real_batch=8, lr_img=1e38, distance="mse")
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in iteration .*too large"):
        checkpointed(tmp_path, digits, settings)


def test_what_a_run_gives(undisturbed):
    written = SyntheticSet.load(undisturbed / "set.safetensors")
    assert written.images.shape == (20, 1, 8, 8)
    assert written.metadata["class_names"] == list("0123456789")
    progress = json.loads((undisturbed / "progress.json").read_text())
    assert progress["seconds"] > 0
    assert progress["resumed_from"] == []
    trace = pd.read_csv(undisturbed / "trace.csv")
    assert trace["iteration"].tolist() == list(range(1, ITERATIONS + 1))
    assert trace["loss"].tolist() == progress["losses"]
    assert trace["loss"].iloc[-5:].mean() < trace["loss"].iloc[:5].mean()
    assert (undisturbed / "set.png").stat().st_size > 1000
    assert iteration(undisturbed) < ITERATIONS  # it is left for whoever keeps the result safe


def test_what_iterates_has_the_interface(digits):
    works = [
        GradientMatching("MLP", Settings(), digits, 1, CPU),
        DatasetDistillation("MLP", dd.Settings(), digits, 1, CPU),
        Training("MLP", reference.Settings(), digits, CPU),
        Evaluation("MLP", evaluation.Settings(), digits, None, CPU),
    ]
    for work in works:
        assert isinstance(work, Iterative)
        assert isinstance(work.start(Streams("cell")), Resumable)
        assert json.loads(json.dumps(work.identity))


def test_a_file_is_compared_with_its_fingerprint(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {"b": torch.arange(3.0), "a": torch.ones(2, dtype=torch.int64)}
    write_sealed(path, tensors, {"mean": (0.1,), "names": ["é"]})
    read, metadata = read_sealed(path)
    assert metadata == {"mean": [0.1], "names": ["é"]}
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    content = path.read_bytes()
    for place in (-1, -20, content.index(b"0.1") + 2):  # tensors, and a number of the header
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(Damaged, match="damaged"):
            read_sealed(path)
    path.write_bytes(content)
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, {"mean": [0.1]})
    with pytest.raises(InputError, match="it has no fingerprint"):
        read_sealed(path)


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
    progress = checkpointed(tmp_path / "file", digits, Settings(iterations=3, real_batch=8))
    assert progress.iteration == 3
    assert "no checkpoint, going on without: " in caplog.text
    assert "checkpoint.safetensors: cannot be written (" in caplog.text


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

    def fail(good_steps, raised):
        Disturbed.good_steps, Disturbed.error = good_steps, raised
        run(Disturbed("MLP", Settings(iterations=9, real_batch=8), digits, 1, CPU), tmp_path)

    with pytest.raises(KeyboardInterrupt):
        fail(2, KeyboardInterrupt)
    assert iteration(tmp_path) == 2
    with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
        fail(1, error)
    assert iteration(tmp_path) == 2
    assert "no checkpoint, the one before stays" in caplog.text


class Quick:
    """A walk of 1000 steps of 2 ms, of which a copy of the state takes 10 ms.

    Args:
        last: after which step something happens.
        what: that.
    """

    iterations = 1000
    identity = ()
    now = 0.0
    copying = 0.01

    def __init__(self, last=-1, what=None):
        self.last, self.what, self.steps, self.copies = last, what, 0, 0

    def start(self, random):
        self.random, self.place = random, torch.zeros(())
        return self

    def state_dict(self):
        self.copies += 1
        Quick.now += self.copying
        return {"place": self.place}

    def load_state_dict(self, tensors):
        self.place.copy_(tensors["place"])

    def step(self, state):
        Quick.now += 0.002
        self.steps += 1
        self.place += torch.randn((), generator=self.random["walk"])
        if self.steps == self.last:
            self.what(self)
        return {"loss": self.place}

    def result(self, state):
        return float(self.place)


@pytest.fixture
def clock(monkeypatch):
    """Time passes only where `Quick` lets it."""
    monkeypatch.setattr(runner.time, "monotonic", lambda: Quick.now)


@pytest.mark.usefixtures("clock")
def test_copies_and_losses_do_not_take_longer_than_quick_steps(tmp_path, monkeypatch):
    reads, stack = [], torch.stack
    monkeypatch.setattr(torch, "stack", lambda losses: reads.append(len(losses)) or stack(losses))
    work = Quick()
    _, progress = run(work, tmp_path)
    assert work.copies <= 2 + 1000 * 0.002 / (20 * 0.01)
    assert len(reads) <= 5
    assert sum(reads) == len(progress.losses) == 1000
    generator = Streams("cell")["walk"]
    steps = torch.cat([torch.randn(1, generator=generator) for _ in range(1000)])
    assert progress.losses == pytest.approx(steps.double().cumsum(0).tolist(), abs=1e-3)


def interrupt(work):
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("clock")
def test_what_the_log_says_is_done_is_kept(tmp_path, caplog, monkeypatch):
    """On a busy machine the first copy may take long."""
    monkeypatch.setattr(Quick, "copying", 1000.0)
    caplog.set_level("INFO")
    with pytest.raises(runner.Interrupted):
        run(Quick(2, interrupt), tmp_path)
    assert "iteration 1/1000" in caplog.text
    assert iteration(tmp_path) == 1


@pytest.mark.usefixtures("clock")
def test_the_time_left_is_by_the_pace_of_this_process(tmp_path, caplog, monkeypatch):
    """The one before may have been on a slower machine."""
    caplog.set_level("INFO")
    with monkeypatch.context() as slow:
        slow.setattr(Quick, "copying", 1000.0)
        with pytest.raises(runner.Interrupted):
            run(Quick(3, interrupt), tmp_path)
    done = iteration(tmp_path)
    caplog.clear()
    _, progress = run(Quick(), tmp_path)
    assert progress.seconds > 1000
    first, last = (text for text in caplog.messages if " s each" in text)
    assert first.startswith(f"iteration {done + 1}/1000 ")
    assert first.endswith(" 0.002 s each, 2 s left")
    assert last.endswith(" 0 s left")


def test_a_second_signal_right_after_the_first_loses_nothing(tmp_path, monkeypatch):
    """A scheduler sends one to every process of a job, and the Snakemake in it another."""
    close, signals = runner.tqdm.close, [signal.SIGTERM]

    def interrupted_again(bar):
        if signals:
            os.kill(os.getpid(), signals.pop())
        close(bar)

    monkeypatch.setattr(runner.tqdm, "close", interrupted_again)
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
    try:
        with pytest.raises(SystemExit):
            run(Quick(777, interrupt), tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not signals
    assert iteration(tmp_path) > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_during_a_destructor_stops_as_well(tmp_path):
    """Python prints what is raised there, and goes on."""
    work = Quick(5, lambda work: type("Dying", (), {"__del__": interrupt})() and None)
    with pytest.raises(runner.Interrupted):
        run(work, tmp_path)
    assert work.steps == 5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("clock")
def test_quick_steps_go_on_from_the_last_copy_to_the_same_bytes(tmp_path):
    whole, trace = run(Quick(), tmp_path / "whole")
    with pytest.raises(runner.Interrupted):
        run(Quick(777, interrupt), tmp_path)
    assert 777 - 20 * 0.01 / 0.002 - 1 <= iteration(tmp_path) < 777
    saved = read_metadata(tmp_path / "checkpoint.safetensors")["progress"]
    assert saved["losses"] == trace.losses[: saved["iteration"]]
    again, progress = run(Quick(), tmp_path)
    assert (again, progress.losses) == (whole, trace.losses)


@pytest.mark.usefixtures("clock")
def test_a_loss_that_is_not_finite_is_told_by_its_step_and_not_saved(tmp_path):
    with pytest.raises(InputError, match="the loss is nan in iteration 700: "):
        run(Quick(700, lambda work: work.place.fill_(torch.nan)), tmp_path, every=0.5)
    assert 0 < iteration(tmp_path) < 700
