"""`import dclib`: light, typed, and the same as what the rooms below it do."""

import ast
import dataclasses
import functools
import io
import json
import os
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
from dclib.methods.imported import settings as of_others
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


def test_a_checkpoint_is_written_over_nothing_else(digits, tmp_path):
    """Neither over a text, a set, nor what another computation goes on from."""
    again = {"checkpoint": tmp_path / "c"}
    made = dclib.condense(digits, "dc", 1, "MLP", **again, **FAST)
    made.save(tmp_path / "set.safetensors")
    (tmp_path / "thesis.md").write_text("a life's work")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in before:
        with pytest.raises(InputError, match=f"{name}: is there, and is no checkpoint of this"):
            dclib.evaluate(made, digits, "MLP", models=1, epochs=1, checkpoint=tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert torch.equal(dclib.condense(digits, "dc", 1, "MLP", **again, **FAST).images, made.images)


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


# Where types are not checked at run time, as in a caller's own process: calls, and what is said.
PREPARED = """
import contextlib, dataclasses, json, sys
from pathlib import Path
import numpy as np, torch
import dclib
from dclib import runner

data = dclib.read("digits")
made = dclib.condense(data, "random", 1)
large = dclib.ImageDataset(
    "large", torch.zeros(2, 3, 65, 65, dtype=torch.uint8), torch.arange(2),
    torch.zeros(2, 3, 65, 65, dtype=torch.uint8), torch.arange(2), [0.5] * 3, [0.5] * 3, ["a", "b"],
)
one = dataclasses.replace
nan = float("nan")

def worked(*_, **__):
    raise SystemExit("it began to work")

runner.run = worked
for call in json.load(sys.stdin):
    try:
        print(json.dumps(f"returned {eval(call)}"))
    except dclib.InputError as error:
        print(json.dumps(str(error)))
    except BaseException as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""
REFUSED = {
    "dclib.condense(None, 'dc', 1)": "data is None; allowed is an ImageDataset, as dclib.read",
    "dclib.condense('digits', 'dc', 1)": "data is 'digits'; allowed is an ImageDataset",
    "dclib.condense(made, 'dc', 1)": "data is of type SyntheticSet; allowed is an ImageDataset",
    "dclib.condense(data.train_images, 'dc', 1)": "data is of type Tensor; ",
    "dclib.evaluate(made, None)": "data is None; allowed is an ImageDataset",
    "dclib.evaluate(data, made)": "made is of type ImageDataset; allowed is a SyntheticSet, as",
    "dclib.evaluate('set.safetensors', data)": "made is 'set.safetensors'; allowed is a Synth",
    "dclib.evaluate((made.images, made.labels), data)": (
        "made is of type tuple; allowed is a SyntheticSet"
    ),
    "dclib.load_set('x.pt', 'digits')": "data is 'digits'; allowed is an ImageDataset",
    "dclib.load_set(None, data)": "path is None; allowed is the path of a file or a folder",
    "dclib.load_set('x.pt', data, experiment=-1)": (
        "experiment is -1; allowed is a whole number from"
    ),
    "dclib.load_set('x.pt', data, file='y.pt')": "x.pt: 'file' is told by the path; leave it out",
    "dclib.load_set('x.pt', data, space='normalised', mean=[nan], std=[1])": "mean.0 is nan",
    "dclib.load(b'x')": "path is b'x'; allowed is the path of a file or a folder",
    "dclib.load('')": "path is ''; allowed is the path",
    "dclib.load('~nobody9/x.pt')": "path: ~nobody9/x.pt: Could not determine home directory",
    "dclib.read(data)": "name is of type ImageDataset; allowed is that of a data set, as 'digits'",
    "dclib.read('MNIST', data_dir=5)": "data_dir is 5; allowed is the path",
    **{
        f"dclib.condense(data, 'random', {ipc})": f"ipc is {ipc}; allowed is a whole number from 1"
        for ipc in ("'1'", "None", "1.0", "nan", "0", "-1", "True")
    },
    "dclib.condense(data, 'random', np.int64(0))": "ipc is 0; allowed is a whole number from 1",
    "dclib.condense(data, 'random', torch.tensor([1]))": "ipc is 1; allowed is a whole number from",
    "dclib.condense(data, 'random', torch.tensor(True))": (
        "ipc is of type Tensor; allowed is a whole"
    ),
    "dclib.load_set('x.pt', data, protocol='dcc')": "protocol 'dcc' is not one of dc, dsa",
    "dclib.condense(data, 'dx', 1, checkpoint='left/behind/x')": "method 'dx' is not one of",
    "dclib.condense(data, 'idc', 50)": "50 images per class of factor 2 begin as 200 real ones",
    "dclib.condense(data, 'herding', 10**6)": "1000000 images per class, but class '",
    **{
        f"dclib.condense(data, 'random', 1, seed={seed})": f"seed is {seed}; allowed is a whole n"
        for seed in ("None", "'x'", "1.5", "-1", "True")
    },
    "dclib.evaluate(made, data, seed=-1)": "seed is -1; allowed is a whole number from 0",
    "dclib.evaluate(made.with_metadata(seed='x'), data)": "seed is 'x'; allowed is a whole number",
    "dclib.condense(data, None, 1)": "method is None; allowed is one of ",
    "dclib.condense(data, 'random', 1, 'ConvNett')": "network 'ConvNett' is not one of ",
    "dclib.condense(data, 'dm', 1, torch.nn.Linear(1, 1))": "network is of type Linear; allowed is",
    "dclib.evaluate(made, data, network='')": "network '' is not one of ",
    "dclib.evaluate(made, data, protocol=['dc'])": "protocol is of type list; allowed is one of dc",
    "dclib.evaluate(made, data, protocol='x', settings=Settings())": "protocol 'x' is not one of",
    "dclib.condense(data, 'random', 1, device=None)": (
        "device: 'None' is not one of auto, cpu, cuda"
    ),
    "dclib.condense(data, 'random', 1, device='cuda:\u00b2')": "is not one of auto, cpu, cuda",
    "dclib.condense(data, 'random', 1, checkpoint=5)": "checkpoint is 5; allowed is the path",
    "dclib.condense(data, 'dc', 1, checkpoint='.')": "checkpoint is ., a folder; allowed is a file",
    "dclib.condense(data, 'dc', 1, checkpoint='set.pt/x')": (
        "set.pt is no folder that can be written"
    ),
    "dclib.evaluate(None, large, space='whitened')": (
        "images of 'large' are too large to be whitened:"
    ),
    "dclib.evaluate(one(made, images=made.images * nan), data, labels='teacher')": "NaN numbers",
    # A data set made by hand
    "dclib.evaluate(None, one(data, train_images=data.train_images / 255))": (
        "data set 'digits': not whole, its train_images are torch.float32 of shape "
        "(1442, 1, 8, 8); allowed is torch.uint8 of 4 dimensions"
    ),
    "dclib.condense(one(data, train_labels=data.train_labels[:, None]), 'dc', 1)": (
        "its train_labels are torch.int64 of shape (1442, 1); allowed is torch.int64 of 1 dim"
    ),
    "dclib.condense(one(data, train_labels=data.train_labels + 1), 'dc', 1)": (
        "train labels from 1 to 10, allowed are 0 to 9"
    ),
    "dclib.condense(one(data, train_labels=data.train_labels[1:]), 'dc', 1)": (
        "1442 train images but 1441 labels"
    ),
    "dclib.condense(one(data, test_images=None), 'dc', 1)": "it has no test_images",
    "dclib.condense(one(data, test_images=data.test_images[:0], test_labels=data.test_labels[:0]),"
    "'dc', 1)": "class '0' has no test image",
    "dclib.condense(one(data, std=(0.0,)), 'dc', 1)": (
        "std is [0.0]; allowed is a finite number above"
    ),
    "dclib.condense(one(data, mean=(0.1,) * 3), 'dc', 1)": "mean is [0.1, 0.1, 0.1]; allowed is a",
    "dclib.condense(one(data, mean=0.1), 'dc', 1)": (
        "its 'mean' are 0.1; allowed is a list of numbers"
    ),
    "dclib.condense(one(data, mean=(True,)), 'dc', 1)": "its 'mean' are (True,); allowed is a list",
    "dclib.condense(one(data, validation_images=data.test_images), 'dc', 1)": (
        "images or labels alone"
    ),
    "data.save(None)": "path is None; allowed is the path",
    "dclib.ImageDataset.load(5)": "path is 5; allowed is the path",
    "dclib.condense(one(data, class_names=tuple(range(10))), 'dc', 1)": "its 'class_names' are (",
    "dclib.condense(one(data, name=None), 'dc', 1)": (
        "the data set's name is None; allowed is a text"
    ),
    "one(data, std=(0.0,)).save('data.safetensors')": (
        "std is [0.0]; allowed is a finite number above"
    ),
    # A set made by hand
    "dclib.evaluate(one(made, labels=made.labels.float()), data)": (
        "the set: not a set of images, its labels are torch.float32 of shape (10,); allowed are "
        "int64, one for each of its 10 images, or float32 (10, 10)"
    ),
    "dclib.evaluate(one(made, labels=made.labels.int()), data)": (
        "its labels are torch.int32 of shape"
    ),
    "dclib.evaluate(one(made, labels=made.labels[1:]), data)": (
        "its labels are torch.int64 of shape"
    ),
    "dclib.evaluate(one(made, labels=[*range(10)]), data)": "its labels are of type list; allowed",
    "dclib.evaluate(one(made, images=made.images[:0], labels=made.labels[:0]), data)": (
        "8, 8): none"
    ),
    "dclib.evaluate(one(made, images=made.images.to(torch.uint8)), data)": (
        "its images are torch.uint8 of shape (10, 1, 8, 8); allowed is torch.float32"
    ),
    "dclib.evaluate(one(made, images=made.images.numpy()), data)": "its images are of type ndarray",
    "dclib.evaluate(one(made, metadata={}), data)": "it has no list 'mean'",
    "dclib.evaluate(one(made, metadata=None), data)": "the set: its metadata is None; allowed is a",
    "dclib.evaluate(made.with_metadata(std=(0.0,)), data)": (
        "std is [0.0]; allowed is a finite number"
    ),
    "dclib.evaluate(one(made, parameters={'lr': 0.01}), data)": (
        "its lr are 0.01; allowed is torch.float32"
    ),
    "one(made, parameters={'images': made.images}).save('x.safetensors')": (
        "cannot be called 'images'"
    ),
    "one(made, recipe='My Recipe').save('x.safetensors')": "its recipe is 'My Recipe'; allowed is",
    "one(made, labels=made.labels.flip(0)).save('x.safetensors')": (
        "its labels are not class by class"
    ),
    "made.with_metadata(by=Path()).save('x.safetensors')": "x.safetensors: its metadata 'by' are ",
    "made.save('x.pt')": "x.pt: a set is saved as .safetensors; `export` writes other files",
    "made.save(None)": "path is None; allowed is the path",
    "made.save_png('x')": "x: a picture is saved as .png",
    "made.export('set.pt/pictures')": "set.pt/pictures: cannot be written",
    "one(made, images=made.images * nan).export('x.zip')": "x.zip: its images are not all finite",
    "one(made, parameters={1: made.images}).save('x.safetensors')": (
        "is called 1; allowed is a text"
    ),
    "one(made, images=made.images.double() * 1e300).save('x.safetensors')": (
        "there are infinite numbers"
    ),
    "made.with_metadata(x={9: 1, 10: 2}).save('x.safetensors')": (
        "its metadata 'x' are nothing that"
    ),
    "made.with_metadata(fingerprint='x').save('x.safetensors')": "cannot be called 'fingerprint'",
    "one(made, images=made.images.to('meta')).save('x.safetensors')": (
        "its images are torch.float32"
    ),
    "one(made, labels=made.labels.float()).grid()": "the set: not a set of images, its labels are",
    "made.grid(classes=0)": "classes is 0; allowed is a whole number from 1",
    "made.grid(padding=-1)": "padding is -1; allowed is a whole number from 0",
}


def test_what_a_caller_may_mistake(tmp_path):
    """Each is refused in one line that names it, before any work is done."""
    (tmp_path / "set.pt").touch()
    settings = "from dclib.applications.evaluation.settings import Settings\n"
    done = subprocess.run(
        [sys.executable, "-c", settings + PREPARED],
        input=json.dumps([*REFUSED]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    wrong = {
        call: found
        for (call, told), found in zip(REFUSED.items(), said, strict=True)
        if told not in found or "\n" in found or found.startswith("returned")
    }
    assert not wrong
    assert [path.name for path in tmp_path.iterdir()] == ["set.pt"]


def test_what_is_taken_though_it_is_not_quite_what_is_asked_for(digits, tmp_path):
    """NumPy's and PyTorch's whole numbers; floats of other sizes; a device of PyTorch."""
    few = {"device": torch.device("cpu"), "models": 1, "epochs": 1, "curve_points": 1}
    plain = dclib.condense(digits, "random", 2, seed=3)
    made = dclib.condense(digits, "random", np.int64(2), seed=torch.tensor(3))
    made.save(tmp_path / "set.safetensors")
    assert torch.equal(plain.images, made.images)
    assert SyntheticSet.load(tmp_path / "set.safetensors").metadata["ipc"] == 2
    double = dataclasses.replace(made, images=made.images.double())
    losses = {
        dclib.evaluate(each, digits, "MLP", **few).rows["train_loss"].item()
        for each in (made, double)
    }
    assert len(losses) == 1


def test_what_own_means_for_somebodys_set(digits, tmp_path, monkeypatch):
    dclib.condense(digits, "random", 2).export(tmp_path / "set.pt")
    theirs = dclib.load_set(tmp_path / "set.pt", digits, protocol="dsa")
    monkeypatch.setattr(face, "Evaluation", lambda _, settings, *rest: settings)
    monkeypatch.setattr(face, "_run", lambda settings, *_, **__: settings)
    assert dclib.evaluate(theirs, digits, "MLP", "own").augmentation_way == "dsa"
    ours = dclib.condense(digits, "random", 2).with_metadata(method="dsa")
    ours.save(tmp_path / "set.safetensors")
    for told, way in (
        ({"settings": of_others.Settings(file="x")}, "dsa"),
        ({"protocol": "dc"}, "dc"),
    ):
        read = dclib.load_set(tmp_path / "set.safetensors", digits, **told)
        assert dclib.evaluate(read, digits, "MLP", "own").augmentation_way == way


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


def test_small_images_in_one_do_not_count_as_images_per_class(digits, tmp_path, monkeypatch):
    cifar = dataclasses.replace(digits, name="CIFAR10")
    torch.save([torch.rand(10, 1, 8, 8), class_labels(10, 1)], tmp_path / "data.pt")
    theirs = dclib.load_set(tmp_path / "data.pt", cifar, factor=2)
    assert (len(theirs.images), theirs.metadata["ipc"]) == (40, 1)
    monkeypatch.setattr(face, "Evaluation", lambda _, settings, *rest: settings)
    monkeypatch.setattr(face, "_run", lambda settings, *_, **__: settings)
    assert dclib.evaluate(theirs, cifar, "MLP", "mtt").space == "whitened"  # as it is at ipc 1


def test_a_set_of_ours_with_small_images_in_its_images(digits, tmp_path):
    whole = SyntheticSet.like(digits, torch.randn(20, 1, 8, 8), class_labels(10, 2))
    small = dataclasses.replace(whole, parameters={"factor": torch.tensor(2.0)})
    small.save(tmp_path / "set.safetensors")
    read = dclib.load_set(tmp_path / "set.safetensors", digits)
    assert torch.equal(read.images, small.decoded().images)
    assert (len(read.images), read.metadata["ipc"]) == (4 * 20, 2)


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
    unhurried = functools.partial(runner.tqdm, mininterval=0)  # else quick steps are passed over
    monkeypatch.setattr(runner, "tqdm", unhurried)
    for shown in (stream, io.StringIO()):
        monkeypatch.setattr(sys, "stderr", shown)
        dclib.condense(digits, "dc", 1, "ConvNet-width4", **FAST)
        assert ("2/2" in shown.getvalue()) == (shown is stream)
