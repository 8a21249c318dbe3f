"""The predicted memory of a job, beside what a process of its own takes."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from dclib import footprint, memory
from dclib.methods import matching
from dclib.networks import plans as networks

MEASURE = """
import sys, torch
from dclib import devices, methods
from dclib.applications.evaluation import evaluate, settings as evaluation
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.networks import names
from dclib.pipeline import resources
from dclib.seeding import Streams

kind, network, channels, size, ipc = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
device = devices.choose("cpu", 1)
labels = torch.arange(2800) % 10
pixels = torch.randint(256, (2800, channels, size, size), dtype=torch.uint8)
data = ImageDataset(
    "x", pixels, labels, pixels[:400], labels[:400],
    (0.5,) * channels, (0.25,) * channels, tuple("abcdefghij"),
)
if kind == "evaluation":
    settings = evaluation.Settings(models=1, epochs=3)
    images = torch.randn(10 * ipc, channels, size, size)
    made = SyntheticSet.like(data, images, class_labels(10, ipc))
    work = evaluate.Evaluation(network, settings, data, made, device)
    peak_bytes = evaluation.peak_bytes
else:
    face, short = methods.face(kind), {"dd": {}, "dm": {}, "idc": {"outer_steps": 2}}
    two = {"outer_steps": 2, "inner_epochs": 2}
    settings = face.settings(iterations=1, **short.get(kind, two))
    work = methods.body(kind).create(network, settings, data, ipc, device)
    batchnorm = names.parse(network).batchnorm
    peak_bytes = (batchnorm and face.batchnorm_bytes) or face.peak_bytes
work.step(work.start(Streams(0)))
spec, shape = names.parse(network), (channels, (size, size))
parameters = spec.parameters(*shape, 10)
peak = peak_bytes(settings, spec.activation_bytes(*shape), parameters, 10, ipc)
predicted = resources.job_mib(peak, parameters, pixels.numel(), "cpu")
print(predicted, devices.peak_memory_mib(device))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        "dc ConvNet 1 28 1",
        "dc ConvNet 3 32 50",
        "dc LeNet 1 28 10",
        "dsa ConvNet 3 32 10",
        "idc ConvNet 3 32 10",
        "evaluation ConvNet 1 28 50",
        "evaluation AlexNet 3 32 1",
        "dd LeNet 1 28 10",
        "dm ConvNet 3 32 50",
        "dm ConvNet-width32-batchnorm 1 28 10",
    ],
)
def test_a_job_takes_no_more_than_predicted_and_not_much_less(arguments):
    command = [sys.executable, "-c", MEASURE, *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    predicted, measured = map(float, done.stdout.split())
    assert measured <= predicted <= 1.6 * measured


def test_what_a_layer_saves_is_counted():
    """A convolution keeps its input, ReLU its output, and the flattened maps are the same ones."""
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2)
    )
    assert memory.activation_bytes(network, (1, 8, 8)) == 4 * (64 + 4 * 36)


@pytest.mark.parametrize("engine", ["by_class", "batched"])
@pytest.mark.parametrize("images_at_once", [2, 5, 20])
def test_matching_in_pieces_is_the_same(monkeypatch, images_at_once, engine):
    """Of a class, and of the classes: 9, 4 and 7 real images, and 2 synthetic ones of each."""
    torch.manual_seed(0)
    network = networks.build("ConvNet-width8", 1, (8, 8), 3).double()
    real = [torch.randn(n, 1, 8, 8, dtype=torch.float64) for n in (9, 4, 7)]
    synthetic = torch.randn(3, 2, 1, 8, 8, dtype=torch.float64)
    whole = matching.match(network, real, synthetic, engine=engine)
    each = footprint.FIRST_ORDER * memory.activation_bytes(network, (1, 8, 8))
    passes, forward = [], network.forward
    monkeypatch.setattr(
        network, "forward", lambda images: passes.append(len(images)) or forward(images)
    )
    monkeypatch.setattr(memory, "memory_budget", lambda device: int(each * images_at_once) + 1)
    pieces = matching.match(network, real, synthetic, engine=engine)
    for some, expected in zip(pieces, whole, strict=True):
        torch.testing.assert_close(some, expected, rtol=0, atol=1e-12)
    assert max(passes) <= images_at_once


def test_passes_are_of_equal_size_and_as_large_as_the_memory_allows(monkeypatch):
    network = networks.build("ConvNet-width8", 1, (8, 8), 3)
    images = torch.zeros(100, 1, 8, 8)
    assert memory.micro_batch(network, images) == 100
    each = footprint.FIRST_ORDER * memory.activation_bytes(network, (1, 8, 8))
    monkeypatch.setattr(memory, "memory_budget", lambda device: int(40.5 * each))
    assert memory.micro_batch(network, images) == 34
    monkeypatch.setattr(memory, "memory_budget", lambda device: 1)
    assert memory.micro_batch(network, images) == 1
