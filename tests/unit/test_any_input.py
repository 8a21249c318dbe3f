"""Whatever a config or a file holds, it is read or refused in one line, and nothing in it runs."""

import copy
import functools
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import torchvision
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dclib import provenance, runner
from dclib.data import sources
from dclib.data.checks import TENSOR_NAMES
from dclib.data.datasets import ImageDataset
from dclib.data.sources import public
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError
from dclib.methods.random import method as random
from dclib.pipeline import settings as configuration
from dclib.pipeline import tabulation
from dclib.pipeline.grid import Grid
from dclib.seeding import Streams
from dclib.teachers.reference.settings import Settings as ReferenceSettings
from dclib.teachers.reference.teacher import Reference, Training
from dclib.tensors import read_tensors, write_sealed, write_tensors

CPU = torch.device("cpu")
CONFIG = configuration.load([ROOT / "config.yaml"])


def examples(number):
    """The same examples in every run; a slow machine is no failure."""
    return settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def read_or_refused(read, *arguments, **named):
    """Return what `read` returns, or None if it refuses in one line; anything else is a defect."""
    try:
        return read(*arguments, **named)
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1, message
    return None


# Configurations


def places(value, path=()):
    """The path of everything in a config."""
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


PLACES = list(places(CONFIG))
WORDS = ["MNIST", "digits", "dc", "dc-mse", "whole", "ConvNet", "MLP", "same", "../x", "a\nb", "",
         "dataset=MNIST", "method=dc ipc=1", "per_dataset", "evaluation", "null", "1e-3", "folder",
         "npz", "x" * 99]  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 20)
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=8)
    | st.dates()
    | st.binary(max_size=3)
)
keys = (
    st.sampled_from([*WORDS, *(str(path[-1]) for path in PLACES)])
    | st.text(max_size=5)
    | st.integers()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
) | st.fixed_dictionaries(
    {"name": st.sampled_from(WORDS)},
    optional={
        "source": st.sampled_from(["digits", "npz", "folder", 1]),
        "path": st.sampled_from(["none", "\0", "~nobody9", ROOT.name]),
        "image_size": st.integers(0, 40) | st.lists(st.integers(0, 40), max_size=3),
        "mean": st.lists(st.floats(), max_size=3),
        "std": st.lists(st.floats(), max_size=3),
        "classes": st.lists(st.integers(-1, 11) | st.sampled_from(["cat", "3", ""]), max_size=3),
        "validation": st.integers(-1, 2000) | st.floats() | st.sampled_from(["merge", "x"]),
        "max_per_class": st.integers(0, 20),
    },
)
mutations = st.lists(
    st.tuples(
        st.sampled_from(PLACES),
        st.sampled_from(["replace", "remove", "rename", "list", "another"]),
        values,
        keys,
    ),
    min_size=1,
    max_size=3,
)


def mutated(changes):
    config = copy.deepcopy(CONFIG)
    for path, action, value, key in changes:
        place = config
        try:
            for step in path[:-1]:
                place = place[step]
            old = place[path[-1]]
        except (KeyError, IndexError, TypeError):  # an earlier change has removed it
            continue
        if action == "remove":
            del place[path[-1]]
        elif action == "rename" and isinstance(place, dict):
            place[key] = place.pop(path[-1])
        elif action == "another" and isinstance(place, list):
            place.append(value)
        else:
            place[path[-1]] = [old, value] if action == "list" else value
    return config


@examples(150)
@given(mutations)
def test_any_change_of_a_config_is_valid_or_refused(changes):
    made = read_or_refused(Grid, mutated(changes), sources.look, CONFIG)
    if made is None:
        return
    evaluations = [*made.evaluations(), *made.table2(), *made.cross_architecture()]
    evaluations += [pair for part in made.ablations().values() for pair in part]
    for cell, tested in evaluations[::50]:
        made.check(cell, tested)
        made.evaluation(cell, tested)
        made.reference(cell.dataset, tested.network)
        made.condensation(cell)
        parts = cell.folder.split("/")
        assert len(parts) == 5
        assert not {"", ".", ".."} & set(parts)
        assert cell.folder.isprintable()
    assert sum(made.expected_models(evaluations).values()) > 0


@examples(60)
@given(st.text(max_size=6) | st.floats().map(str) | st.integers().map(str))
def test_text_is_the_number_that_it_spells_or_refused(text):
    for place in (("condensation", "dc", "lr_img"), ("seeds", 0)):
        config = copy.deepcopy(CONFIG)
        config["condensation"]["dc"] = {"lr_img": 0.1}
        functools.reduce(lambda part, step: part[step], place[:-1], config)[place[-1]] = text
        parsed = read_or_refused(configuration.parse, config)
        if parsed is not None:
            assert functools.reduce(lambda part, step: part[step], place, parsed) == float(text)
        elif text.isascii() and text.isdecimal() and 0 < int(text) < 100:
            assert text.startswith("0")  # no number of JSON


def test_text_that_spells_numbers_is_taken_for_them():
    config = copy.deepcopy(CONFIG)
    config["seeds"], config["table2"], config["cross_architecture"] = ["0", "7"], "null", "null"
    config["ablations"]["width"], config["overrides"] = "null", {"method=whole": "null"}
    own = {"name": "d", "source": "digits", "validation": "0.25"}
    config["datasets"], config["images_per_class"] = [own], ["1"]
    config["condensation"]["dc"] = {"lr_img": "1e-3"}
    config["condensation"]["dd"] = {"augment_real": "True"}
    made = Grid(config, base=CONFIG)
    assert made.config["seeds"] == [0, 7]
    assert made.config["table2"] is made.config["cross_architecture"] is None
    assert made.config["ablations"]["width"] is made.config["overrides"]["method=whole"] is None
    assert made.config["datasets"][0]["validation"] == 0.25
    assert made.config["condensation"]["dc"]["lr_img"] == 0.001
    assert made.config["condensation"]["dd"]["augment_real"] is True


# Files: any bytes, and valid ones with some bytes changed

damage = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["set", "cut", "insert"]), st.binary(max_size=6)),
    min_size=1,
    max_size=3,
)


def damaged(content, changes):
    content = bytearray(content)
    for share, action, new in changes:
        at = int(share * len(content))
        if action == "set":
            content[at : at + len(new)] = new
        elif action == "cut":
            del content[at : at + 1 + len(new)]
        else:
            content[at:at] = new
    return bytes(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def tiny():
    images = torch.arange(4 * 16, dtype=torch.uint8).view(4, 1, 4, 4)
    labels = torch.tensor([0, 1, 0, 1])
    return ImageDataset(
        "tiny", images, labels, images.clone(), labels.clone(), (0.1,), (0.3,), ("a", "b")
    )


def read_own(source, path):
    """A user's own data, planned and read."""
    options = {"name": "own", "source": source, "path": path}
    sources.look(options)
    assert sources.content(options)
    return sources.read(options)


def read_set(path):
    made = SyntheticSet.load(path)
    made.pixels()
    made.grid()
    return made


def read_checkpoint(path):
    """Take up a computation of two steps."""
    return runner.run(Counting(), Streams("counter"), checkpoint=path)


class Counting:
    """The smallest computation."""

    iterations, identity = 2, "counting"

    def start(self, random):
        return Counter(random)

    def step(self, state):
        state.count += torch.rand(3, generator=state.random["draw"])
        return {"loss": state.count.sum()}

    def result(self, state):
        return state.count


class Counter:
    """The smallest state that can be resumed."""

    def __init__(self, random):
        self.random, self.count = random, torch.zeros(3)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, tensors):
        self.count.copy_(tensors["count"])


def write_checkpoint(path, **change):
    progress = {"iteration": 1, "losses": [0.5], "seconds": 1.0, "resumed_from": []}
    tensors = {"state/count": torch.zeros(3), "random/draw": torch.Generator().get_state()}
    digest = provenance.digest("", Counting.identity, ("counter",))
    write_sealed(path, tensors, {"digest": digest, "progress": {**progress, **change}})


@pytest.fixture(scope="module")
def originals(folder, tiny):
    """A valid file of each kind, and what reads it."""
    made = {}

    def keep(name, read):
        made[name] = (folder / name, (folder / name).read_bytes(), read)

    tiny.save(folder / "data.safetensors")
    keep("data.safetensors", ImageDataset.load)
    random.select(tiny, 1, Streams("c")).save(folder / "set.safetensors")
    keep("set.safetensors", read_set)
    training = Training("MLP", ReferenceSettings(epochs=1), tiny, CPU)
    state = training.start(Streams("r"))
    training.result(state).save(folder / "network.safetensors")
    keep("network.safetensors", lambda path: Reference.load(path, CPU))
    write_checkpoint(folder / "checkpoint.safetensors")
    keep("checkpoint.safetensors", read_checkpoint)
    arrays = {name: getattr(tiny, name).numpy() for name in TENSOR_NAMES}
    np.savez(folder / "own.npz", **arrays)
    keep("own.npz", lambda path: read_own("npz", path))
    place = folder / "MNIST/dc/ConvNet/ipc-1/seed-0/eval"
    place.mkdir(parents=True)
    rows = pd.DataFrame({"model": [0, 1], "epoch": [1, 1], "test_accuracy": [50.0, 60.25]})
    rows.to_csv(place / "MLP.csv", index=False)
    keep(
        str((place / "MLP.csv").relative_to(folder)),
        lambda path: tabulation.collect([path], folder),
    )
    for kind in ("png", "bmp", "jpg", "tif", "ppm"):
        for split in ("train", "test"):
            for name in ("a", "b"):
                (folder / f"{kind}s" / split / name).mkdir(parents=True)
                picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
                picture.save(folder / f"{kind}s" / split / name / f"0.{kind}")
        keep(f"{kind}s/train/a/0.{kind}", lambda path: read_own("folder", path.parents[2]))
    return made


KINDS = ["data.safetensors", "set.safetensors", "network.safetensors", "checkpoint.safetensors",
         "own.npz", "MNIST/dc/ConvNet/ipc-1/seed-0/eval/MLP.csv",
         "pngs/train/a/0.png", "bmps/train/a/0.bmp", "jpgs/train/a/0.jpg", "tifs/train/a/0.tif",
         "ppms/train/a/0.ppm"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_any_bytes_are_read_or_refused(kind, originals):
    path, original, read = originals[kind]
    assert read(path) is not None

    @examples(60)
    @given(damage | st.binary(max_size=60))
    def run(change):
        path.write_bytes(change if isinstance(change, bytes) else damaged(original, change))
        read_or_refused(read, path)

    run()
    path.write_bytes(original)


types = st.sampled_from([torch.uint8, torch.int64, torch.float32, torch.float64, torch.bool])
shapes = st.lists(st.integers(0, 4), max_size=4)
NAMES = {
    ImageDataset.load: ["train_images", "train_labels", "test_images", "test_labels"],
    read_set: ["images", "labels", "learning_rates"],
    read_checkpoint: ["state/count", "random/draw", "x"],
}
metadata = st.dictionaries(
    st.sampled_from(["mean", "std", "class_names", "dataset", "digest", "progress", "ipc"]),
    st.sampled_from([[0.1], [0.0], [0.1] * 3, ["a", "b"], ["a"], "d", 3, {}, {"iteration": 1}])
    | scalars.filter(lambda value: isinstance(value, int | str | float | None)),
)


@pytest.mark.parametrize("read", NAMES, ids=["data", "set", "checkpoint"])
def test_tensors_of_any_kind_are_read_or_refused(read, folder):
    path = folder / "any.safetensors"

    @examples(80)
    @given(st.dictionaries(st.sampled_from(NAMES[read]), st.tuples(types, shapes)), metadata)
    def run(tensors, described):
        made = {name: torch.ones(shape, dtype=dtype) for name, (dtype, shape) in tensors.items()}
        write_tensors(path, made, described)
        read_or_refused(read, path)

    run()


def test_metadata_of_any_kind_are_read_or_refused(originals):
    """The right tensors, with metadata of which one value is another."""
    for kind in ("data.safetensors", "set.safetensors", "network.safetensors"):
        path, original, read = originals[kind]
        tensors, described = read_tensors(path)
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        for key in described:
            for value in (None, "x", -1, 0, 2.5, [], [1], [0.0], ["a"], {}, [10**9, 10**9]):
                write_tensors(path, tensors, {**described, key: value})
                read_or_refused(read, path)
        path.write_bytes(original)
    for key in ("iteration", "losses", "seconds", "resumed_from"):
        path = originals["checkpoint.safetensors"][0]
        write_checkpoint(path, **{key: "x"})
        with pytest.raises(InputError, match=r"a damaged checkpoint .*; delete it"):
            read_checkpoint(path)


ARRAYS = [*TENSOR_NAMES, "val_images", "val_labels", "x_test", "class_names", "x"]
arrays = st.tuples(
    st.sampled_from(
        [np.uint8, np.int64, np.uint64, np.float32, ">f2", "U1", "S2", bool, "M8[s]", "c8"]
    ),
    shapes,
    st.integers(0, 3),
)


@examples(150)
@given(st.dictionaries(st.sampled_from(ARRAYS), arrays, max_size=6))
def test_arrays_of_any_kind_are_read_or_refused(folder, content):
    path = folder / "any.npz"
    valid = {name: np.arange(4, dtype=np.uint8) % 2 for name in TENSOR_NAMES[1::2]}
    valid |= {name: np.ones((4, 2, 2), np.uint8) for name in TENSOR_NAMES[::2]}
    made = {key: np.full(shape, fill).astype(kind) for key, (kind, shape, fill) in content.items()}
    np.savez(path, **{**valid, **made})
    read_or_refused(read_own, "npz", path)


def test_arrays_that_would_not_fit_into_memory(folder):
    """A few bytes that promise many: neither the plan nor the reader makes room for them."""
    path = folder / "bomb.npz"
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        for name in TENSOR_NAMES:
            shape = (10**12, 32, 32) if "images" in name else (10**12,)
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array_header_1_0(stream, {**header, "shape": shape})
    assert read_or_refused(read_own, "npz", path) is None


# The public data sets, which torchvision reads


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    for module in (torchvision.datasets.mnist, torchvision.datasets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", refuse)
    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", refuse)
    monkeypatch.setattr(public.time, "sleep", lambda seconds: None)


def test_any_bytes_in_public_data_are_refused(tmp_path):
    """They are read only if their MD5 is that of the original file."""

    @examples(60)
    @given(st.binary(max_size=60))
    def run(content):
        for source, told in public.SETS.items():
            folder = tmp_path / told.folder
            folder.mkdir(parents=True, exist_ok=True)
            for name in told.files:
                (folder / name).write_bytes(content)
            assert read_or_refused(sources.read, {"source": source}, tmp_path) is None

    run()


# Nothing that a file holds is run


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def test_a_bomb_goes_off_where_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("pack", ["pickle", "torch", "numpy"])
def test_bombs_in_files_do_not_go_off(pack, tmp_path, originals, no_network):
    marker = tmp_path / "marker"
    bomb = tmp_path / "bomb"
    if pack == "pickle":
        bomb.write_bytes(pickle.dumps(Bomb(marker)))
    elif pack == "torch":
        torch.save({"images": Bomb(marker)}, bomb)
    else:
        content = np.array([Bomb(marker)], dtype=object)
        with bomb.open("wb") as stream:
            np.savez(stream, **dict.fromkeys(TENSOR_NAMES, content))
    for kind, (path, original, read) in originals.items():
        shutil.copyfile(bomb, path)
        made = read_or_refused(read, path)
        assert made is None or kind == "checkpoint.safetensors"  # from which nothing is taken up
        path.write_bytes(original)
    cifar = tmp_path / "cifar-10-batches-py"
    cifar.mkdir()
    for file, _ in torchvision.datasets.CIFAR10.train_list:
        shutil.copyfile(bomb, cifar / file)
    legacy = tmp_path / "MNIST/processed"
    legacy.mkdir(parents=True)
    for file in ("training.pt", "test.pt"):
        shutil.copyfile(bomb, legacy / file)
    for source in ("CIFAR10", "MNIST"):
        assert read_or_refused(sources.read, {"source": source}, tmp_path) is None
    assert not marker.exists()


def test_a_header_that_is_no_json(tmp_path):
    path = tmp_path / "set.safetensors"
    for text in ("", "[", "[" * 100_000, json.dumps([1]), "NaN"):
        safetensors.torch.save_file({"images": torch.ones(1)}, path, {"json": text})
        assert read_or_refused(SyntheticSet.load, path) is None
