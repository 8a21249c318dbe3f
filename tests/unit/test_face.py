"""`import dclib`: light, typed, and the same as what the rooms below it do."""

import ast
import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from PIL import Image

import dclib
from dclib import face, runner
from dclib.applications.evaluation.evaluate import Results
from dclib.applications.evaluation.settings import Settings
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.devices import choose
from dclib.errors import InputError
from dclib.methods.dc import settings as dc
from dclib.methods.dc.method import GradientMatching, create
from dclib.pipeline.grid import Grid
from dclib.pipeline.paths import Cell
from dclib.seeding import Streams

FAST = {"iterations": 2, "real_batch": 8}


def test_it_is_imported_when_it_is_asked_for():
    code = (
        "import sys, dclib\n"
        "from dclib import methods\n"
        "assert methods.__name__ == 'dclib.methods' and 'condense' in dir(dclib)\n"
        "assert not hasattr(dclib, 'nothing')\n"
        "assert not {'torch', 'dclib.face'} & sys.modules.keys()\n"
        "assert dclib.condense.__module__ == 'dclib.face'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_names_are_in_step():
    assert dclib.__all__ == face.__all__
    for name in dclib.__all__:
        assert getattr(dclib, name) is getattr(face, name)
    stub = ast.parse((ROOT / "dclib/__init__.pyi").read_text())
    assert "from dclib.face import *" in ast.unparse(stub)
    assert (ROOT / "dclib/py.typed").exists()


def test_it_is_what_a_grid_makes(digits, tmp_path):
    """The random numbers of the cell; settings as an object, by name, or both."""
    settings = dc.Settings(**FAST)
    device = choose("cpu")
    work = create("ConvNet-width4", settings, digits, 1, device)
    random = Streams("digits", "dc", "ConvNet-width4", "1", 3)
    expected, _ = runner.run(work, random, checkpoint=tmp_path / "c")
    nine = dc.Settings(iterations=2, real_batch=9)
    for given in (FAST, {"settings": settings}, {"settings": nine, "real_batch": 8}):
        made = dclib.condense(digits, "dc", 1, "ConvNet-width4", seed=3, device="cpu", **given)
        assert torch.equal(made.images, expected.images)
    assert made.metadata["ipc"] == 1
    assert made.metadata["settings"]["iterations"] == 2


@pytest.mark.parametrize("dataset", ["MNIST", "CIFAR10"])
@pytest.mark.parametrize("network", ["ConvNet-width4", "MLP"])
@pytest.mark.parametrize("method", ["dc", "dsa", "dm", "idc", "idc-i", "dd"])
def test_settings_are_those_that_a_grid_has(digits, dataset, network, method):
    """What the authors set for a data set, a network or a variant included."""
    few = {"iterations": 1, "real_batch": 4}
    few |= {"outer_steps": 1} if method.startswith("idc") else {}
    named = dataclasses.replace(digits, name=dataset)
    made = dclib.condense(named, method, 1, network, device="cpu", **few)
    config = {
        "datasets": [dataset], "methods": [method], "networks": [network], "seeds": [0],
        "images_per_class": [1], "condensation": {method: few},
    }  # fmt: skip
    told = Grid(config, None).condensation(Cell(dataset, method, network, "1", 0))
    assert json.loads(json.dumps(made.metadata["settings"])) == json.loads(json.dumps(told))
    assert made.metadata["method"] == method


@pytest.mark.parametrize(
    ("method", "way"),
    [("dsa@100", "dsa"), ("idc-i@2", "idc"), ("dm-x", "dsa"), ("random", "dc")],
)
def test_the_own_protocol_of_a_snapshot_or_a_variant(digits, method, way, monkeypatch):
    made = dclib.condense(digits, "random", 1).with_metadata(method=method)
    monkeypatch.setattr(face, "Evaluation", lambda _, settings, *rest: settings)
    monkeypatch.setattr(face, "_run", lambda settings, *_, **__: settings)
    assert dclib.evaluate(made, digits, "MLP", "own").augmentation_way == way


def test_a_batchnorm_network_is_tested_as_its_twin(digits, monkeypatch):
    asked = []

    def evaluation(tested, *_):
        asked.append(tested)
        raise InputError("enough")

    monkeypatch.setattr(face, "Evaluation", evaluation)
    made = dclib.condense(digits, "random", 1).with_metadata(network="VGG11BN")
    for network in (None, "VGG11BN"):
        with pytest.raises(InputError, match="enough"):
            dclib.evaluate(made, digits, network)
    assert asked == ["VGG11", "VGG11BN"]


def test_a_checkpoint_is_gone_on_from(digits, tmp_path, monkeypatch):
    arguments = {"network": "ConvNet-width4", "device": "cpu", **FAST}
    whole = dclib.condense(digits, "dc", 1, **arguments)
    step = GradientMatching.step
    calls = []

    def stopped(self, state):
        if len(calls) == 1:
            raise KeyError("stop")
        calls.append(1)
        return step(self, state)

    monkeypatch.setattr(GradientMatching, "step", stopped)
    with pytest.raises(KeyError):
        dclib.condense(digits, "dc", 1, checkpoint=tmp_path / "c", **arguments)
    calls.clear()
    monkeypatch.setattr(GradientMatching, "step", lambda *each: calls.append(1) or step(*each))
    again = dclib.condense(digits, "dc", 1, checkpoint=tmp_path / "c", **arguments)
    assert len(calls) == 1
    assert torch.equal(again.images, whole.images)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: dclib.read("digitz"), "did you mean 'digits'?"),
        (lambda d: dclib.read("digits", size=3), "'size' is unknown"),
        (lambda d: dclib.condense(d, "dx", 1), "method 'dx' is not one of"),
        (lambda d: dclib.condense(d, "idc-x", 1), "method 'idc-x' is not one of"),
        (lambda d: dclib.condense(d, "dc", 1, iteration=2), "did you mean 'iterations'?"),
        (lambda d: dclib.condense(d, "dc", 1, lr_img=-1.0), "method 'dc': lr_img is -1.0; "),
        (lambda d: dclib.condense(d, "random", 1, lr=1), "'lr' is unknown; allowed: none"),
        (lambda d: dclib.condense(d, "random", 10**6), "1000000 images per class, but"),
        (lambda d: dclib.condense(d, "whole", 1), "call dclib.evaluate(None, data)"),
        (lambda d: dclib.condense(d, "imported", 1), "call dclib.load_set(path, data)"),
        (lambda d: dclib.condense(d, "dc", 1, settings=Settings()), "allowed is dclib.methods.dc"),
        (lambda d: dclib.evaluate(None, d, "MLP", "dcc"), "protocol 'dcc' is not one of dc, dsa"),
        (lambda d: dclib.evaluate(None, d, "MPL"), "MPL"),
        (
            lambda d: dclib.evaluate(None, d, "MLP", space="whitened", labels="teacher"),
            "labels 'teacher' go with",
        ),
        (lambda d: dclib.load_set("no-such.pt", d), "no-such.pt: cannot be read"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(digits, call, message):
    with pytest.raises(InputError) as raised:
        call(digits)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_somebodys_set_and_the_protocols(digits, tmp_path):
    made = dclib.condense(digits, "random", 2, device="cpu")
    made.export(tmp_path / "set.pt")
    theirs = dclib.load_set(tmp_path / "set.pt", digits)
    assert torch.allclose(theirs.images, made.images, atol=1e-6)
    assert torch.equal(theirs.labels, made.labels)
    with pytest.raises(InputError, match="there is none for seed 1"):
        dclib.load_set(tmp_path / "set.pt", digits, experiment=1)
    with pytest.raises(
        InputError, match=r"'own' is the one of the method .* allowed is one of dc, dsa"
    ):
        dclib.evaluate(theirs, digits, "MLP", "own")
    few = {"models": 1, "curve_points": 1, "device": "cpu"}
    for protocol, models in (("dc", 20), ("dcbench-none", 5)):
        rows = dclib.evaluate(theirs, digits, "MLP", protocol, epochs=1).rows
        assert len(rows) == models
    whitened = dclib.evaluate(theirs, digits, "MLP", space="whitened", epochs=2, **few)
    taught = dclib.evaluate(theirs, digits, "MLP", labels="teacher", epochs=2, **few)
    own = dclib.evaluate(theirs, digits, "MLP", epochs=2, **few)
    losses = {each.rows["train_loss"].item() for each in (whitened, taught, own)}
    assert len(losses) == 3


def test_a_set_of_ours_with_small_images_in_its_images(digits, tmp_path):
    whole = SyntheticSet.like(digits, torch.randn(20, 1, 8, 8), class_labels(10, 2))
    small = dataclasses.replace(whole, parameters={"factor": torch.tensor(2.0)})
    small.save(tmp_path / "set.safetensors")
    read = dclib.load_set(tmp_path / "set.safetensors", digits)
    assert torch.equal(read.images, small.decoded().images)
    assert len(read.images) == 4 * 20


def test_what_a_notebook_shows(digits):
    made = dclib.condense(digits, "random", 3)
    shown = np.asarray(Image.open(io.BytesIO(made._repr_png_())).convert("L"), dtype=float) / 255
    pixels = digits.pixels(made.images)
    corner = shown[8:72, 8:72].reshape(8, 8, 8, 8)[:, 0, :, 0]  # each pixel 8 x 8 times
    assert np.abs(corner - pixels[0, 0].numpy()).max() < 1 / 254
    rows = pd.DataFrame({"model": [0, 1], "test_accuracy": [40.0, 50.0]})
    results = Results(rows, pd.DataFrame())
    assert str(results) == "45.00 ± 5.00 % (n = 2)"
    assert "45.00 ± 5.00 % (n = 2)" in results._repr_html_()
    assert results._repr_html_().count("<tr") == 3


def test_there_is_a_bar_in_a_notebook_though_it_is_no_terminal(digits, monkeypatch):
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    for shown in (stream, io.StringIO()):
        monkeypatch.setattr(sys, "stderr", shown)
        dclib.condense(digits, "dc", 1, "ConvNet-width4", **FAST)
        assert ("2/2" in shown.getvalue()) == (shown is stream)
