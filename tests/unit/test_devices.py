"""GPUs are shared out by locks, precision holds within its context, memory bounds pieces."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from dclib import devices, graphs, memory
from dclib.errors import InputError

CPU = torch.device("cpu")
CLAIM = """
import sys, time
from pathlib import Path
from dclib import devices
index, lock = devices.claim(["a", "b"], 1, Path(sys.argv[1]))
print(index, flush=True)
time.sleep(60)
"""


def test_cards_fill_up_evenly_and_then_a_job_waits(tmp_path):
    held = [devices.claim(["a", "b"], 2, tmp_path) for _ in range(4)]
    assert [index for index, _ in held] == [0, 1, 0, 1]
    late = []
    thread = threading.Thread(
        target=lambda: late.append(devices.claim(["a", "b"], 2, tmp_path, wait=0.02))
    )
    thread.start()
    time.sleep(0.2)
    assert late == []
    held[3][1].release()
    thread.join(10)
    assert late[0][0] == 1


def test_a_killed_job_frees_its_card(tmp_path):
    jobs = []
    for _ in range(2):
        command = [sys.executable, "-c", CLAIM, str(tmp_path)]
        job = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        jobs.append((job, int(job.stdout.readline())))
    assert [card for _, card in jobs] == [0, 1]
    for job, _ in reversed(jobs):
        job.kill()
        job.wait()
        job.stdout.close()
    assert devices.claim(["a", "b"], 1, tmp_path, wait=0.02)[0] == 0


@pytest.mark.parametrize("name", devices.PRECISIONS)
def test_precision_holds_within_its_context(name):
    before = torch.backends.cudnn.conv.fp32_precision
    with devices.precision(CPU, name):
        assert torch.is_autocast_enabled("cpu") == (name == "bf16")
        assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == (name != "fp32")
        assert torch.backends.cudnn.allow_tf32 == (name != "fp32")  # readable, whichever it is
    assert not torch.is_autocast_enabled("cpu")
    assert torch.backends.cudnn.conv.fp32_precision == before


def test_an_unknown_precision_is_refused():
    with (
        pytest.raises(InputError, match="'fp16' is not one of fp32, tf32, bf16"),
        devices.precision(CPU, "fp16"),
    ):
        pass


def test_parameters_may_change_within_the_context():
    """Autocast by itself remembers the first bfloat16 copy of a parameter."""
    layer = torch.nn.Linear(4, 4)
    images = torch.randn(2, 4)
    with devices.precision(CPU, "bf16"):
        first = layer(images)
        with torch.no_grad():
            layer.weight.zero_()
            layer.bias.zero_()
        assert layer(images).abs().max() == 0
        assert first.abs().max() > 0


def test_pieces_are_as_large_as_the_memory_allows(monkeypatch):
    monkeypatch.setattr(memory, "memory_budget", lambda device: 100)
    taken = memory.in_pieces(lambda piece: list(range(7))[piece], 7, 30, CPU)
    assert taken == [[0, 1, 2], [3, 4, 5], [6]]
    assert memory.in_pieces(lambda piece: list(range(2))[piece], 2, 1000, CPU) == [[0], [1]]


def test_pieces_get_smaller_when_memory_runs_out(caplog, monkeypatch):
    monkeypatch.setattr(memory, "_fitting", {})
    sizes = []

    def limited(piece):
        sizes.append(piece.stop - piece.start)
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("too much")
        return list(range(7))[piece]

    assert memory.in_pieces(limited, 7, 1, CPU) == [[0, 1], [2, 3], [4, 5], [6]]
    assert sizes == [7, 4, 2, 2, 2, 2]
    assert "out of memory: going on with 2 of 7 at a time" in caplog.text

    sizes.clear()
    assert memory.in_pieces(limited, 7, 1, CPU) == [[0, 1], [2, 3], [4, 5], [6]]
    assert sizes == [2, 2, 2, 2]  # it is not tried again

    def hopeless(piece):
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        memory.in_pieces(hopeless, 3, 1, CPU)


def test_a_repeated_function_is_called_every_time():
    count = torch.zeros(())
    repeated = graphs.Repeated(lambda: count.add_(1), CPU)
    for _ in range(5):
        repeated()
    assert count == 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_recorded_graph_does_what_its_function_did():
    device = torch.device("cuda", 0)  # not claimed: other tests may wait for it
    images = torch.randn(8, 3, 32, 32, device=device)
    weight = torch.randn(4, 3, 3, 3, device=device, requires_grad=True)
    expected, total = torch.zeros_like(weight), torch.zeros_like(weight)

    def gradient():
        loss = torch.nn.functional.conv2d(images, weight).square().sum()
        return torch.autograd.grad(loss, weight)[0]

    repeated = graphs.Repeated(lambda: total.add_(gradient()), device)
    for _ in range(5):
        expected += gradient()
        repeated()
        images.mul_(0.9)
    torch.testing.assert_close(total, expected)


def test_a_process_keeps_the_card_that_it_got(monkeypatch, tmp_path):
    """With two cards made up: only what is asked of PyTorch about them is replaced."""
    shares = {}
    for name, answer in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "get_device_properties": lambda card: SimpleNamespace(uuid=f"card-{card}"),
        "set_device": lambda card: None,
        "set_per_process_memory_fraction": lambda share, card: shares.update({card: share}),
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(devices, "_claimed", {})
    _, other = devices.claim(["card-0"], 1, tmp_path / f"dclib-gpus-{os.getuid()}")
    deterministic = torch.are_deterministic_algorithms_enabled()
    try:
        assert devices.choose("auto") == torch.device("cuda:1")
        assert devices.choose("cuda") == torch.device("cuda:1")
        other.release()
        assert devices.choose("auto") == torch.device("cuda:1")
        assert devices.choose("cuda:0", jobs_per_device=2) == torch.device("cuda:0")
        with pytest.raises(InputError, match="'cuda:2', but PyTorch sees 2 GPUs"):
            devices.choose("cuda:2")
    finally:
        torch.use_deterministic_algorithms(deterministic)
    assert shares == {1: 1.0, 0: 0.5}
