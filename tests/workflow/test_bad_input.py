"""Wrong input: one line that names the key or file, the value and what is allowed; no file.

Most rows are asked of the library, which the pipeline calls first of all (a call of Snakemake takes
two seconds); those under COMMAND_LINES and what follows go through the real one.
"""

import copy
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import yaml
from conftest import ROOT
from PIL import Image
from pipeline import clone, folder

from dclib.data import sources
from dclib.errors import InputError
from dclib.pipeline import paths, settings
from dclib.pipeline.grid import Grid

CONFIG = settings.load([ROOT / "config.yaml"])


def changed(path, value):
    """The paper's config with one value changed, addressed as in 'condensation.dc.lr_img'."""
    config = copy.deepcopy(CONFIG)
    *folders, last = path.split(".")
    place = config
    for name in folders:
        place = place.setdefault(name, {})
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return config


def refused(call, *parts):
    """`call` ends in an InputError of one line that has all `parts` in it."""
    with pytest.raises(InputError) as raised:
        call()
    message = str(raised.value)
    assert len(message.splitlines()) == 1
    assert message.isprintable(), repr(message)
    for part in parts:
        assert str(part) in message, message


GONE = object()
NAMES = "letters, digits, '_' and '-'"
SECTION = {"datasets": ["MNIST"], "images_per_class": [1], "methods": ["dc"], "networks": ["MLP"]}

# Where, the value there; the value and what is allowed, as the line has them.
CONFIGS = [
    # misspelt keys
    ("seed", [1], "'seed' is unknown (did you mean 'seeds'?)", "allowed here: datasets"),
    ("condensation.dc.lr_imgs", 0.1, "(did you mean 'lr_img'?)", "allowed here: factor"),
    ("evaluation.model", 5, "(did you mean 'models'?)", "here: networks, protocols, models"),
    ("overrides.dataset=MNIST.evaluation", {"networks": ["MLP"]}, "evaluation.networks' is unknown",
     "allowed here: models"),
    ("overrides.dataset=MNIST", {"evaluatoin": {}}, "(did you mean 'evaluation'?)", "dc, dd"),
    ("condensation.mtt", {}, "'condensation.mtt' is unknown", "allowed here: dc, dd"),
    ("cross_architecture", {"dataset": ["MNIST"]}, "cross_architecture.dataset", "'datasets'?"),
    # missing keys
    ("seeds", GONE, "'seeds' is missing", ""),
    ("table2", [{"datasets": ["MNIST"]}], "'table2[0].images_per_class' is missing", ""),
    # wrong types
    ("condensation.dc.lr_img", "fast", '"fast"', "number, above 0"),
    ("condensation.dc.real_batch", True, "true", "integer, at least 1"),
    ("condensation.dm.augmentation", ["noise"], '"noise"', "one of color, crop, cutout"),
    ("evaluation.batch", 2.0, "2.0", "integer, at least 1"),
    ("evaluation.epochs", None, "null", "integer, at least 1"),
    ("images_per_class", 10, "10", "array, at least 1 entries"),
    ("resources.condense.mem_mb", "8GB", '"8GB"', "integer"),
    # more than a float or an integer holds
    ("evaluation.lr", 1e300, "1e+300", "number, above 0, at most 1e+38"),
    ("condensation.dc.lr_img", 1e300, "1e+300", "number, above 0, at most 1e+38"),
    ("seeds", [10**30], "seeds[0]", "at most 9223372036854775807"),
    ("datasets", {"MNIST": None}, '{"MNIST": null}', "array"),
    ("ablations", [1], "[1]", "object or null"),
    ("condensation", None, "null", "object"),
    ("results_dir", 5, "5", "string"),
    ("results_dir", "", '""', "not empty"),
    # numbers out of range, and none at all
    ("condensation.dc.lr_net", 0, "0 is", "number, above 0"),
    ("condensation.dc.lr_img", float("nan"), "NaN", "finite"),
    ("condensation.dd.lr_img", float("inf"), "Infinity", "finite"),
    ("condensation.dc.iterations", -5, "-5", "integer, at least 1"),
    ("condensation.dc.momentum_img", 1, "1 is", "at least 0, below 1"),
    ("evaluation.models", 0, "0 is", "integer, at least 1"),
    ("seeds", [0, -1], "'seeds[1]': -1", "integer, at least 0"),
    ("images_per_class", [0], "'images_per_class[0]': 0", "integer, at least 1"),
    ("execution.threads", 0, "0 is", "integer, at least 1"),
    ("networks", ["ConvNet-width5000"], "ConvNet-width5000", "one of ConvNet, MLP"),
    # too few, or twice
    ("seeds", [], "[]", "at least 1 entries"),
    ("seeds", [3, 3], "[3, 3]", "no entry twice"),
    ("methods", ["dc", "dc"], '["dc", "dc"]', "no entry twice"),
    ("evaluation.networks", [], "[]", "at least 1 entries"),
    ("ablations", {"w": {**SECTION, "networks": []}}, "'ablations.w.networks'", "at least 1"),
    # names of nothing
    ("datasets", ["MNITS"], "(did you mean 'MNIST'?)", "one of MNIST, FashionMNIST"),
    ("methods", ["herdin"], "(did you mean 'herding'?)", "one of random, forgetting"),
    ("methods", ["dc-msee"], "(did you mean 'dc-mse'?)", "variants there: dc-mse, dc-cos"),
    ("networks", ["ConvNet-widht64"], "'networks[0]': \"ConvNet-widht64\"", "ConvNet, MLP"),
    ("condensation.dc.distance", "coz", "(did you mean 'cos'?)", "one of ours, mse, cos"),
    ("evaluation.augmentation", ["flp"], '"flp"', "one of crop, scale, rotate, noise"),
    ("evaluation.augmentation", ["flip"], "'flip' is none of augmentation_way 'dc'", "crop, scale"),
    ("evaluation.protocols", ["dssa"], "(did you mean 'dsa'?)", "there are own, dcbench, dc, dsa"),
    ("evaluation.protocols", ["DC"], '"DC"', "own, dcbench, dc"),
    ("evaluation.protocol", "own", "is now written as {evaluation: {protocols: [own]}}", "`own`"),
    ("protocols", {"mine": {"like": "dcc"}}, "(did you mean 'dc'?)", "one of dc, dsa, idc"),
    ("protocols", {"dc": {"epochs": 1}}, "there is a protocol of this name", "'like'"),
    ("protocols", {"mine": {"labels": "teached"}}, "(did you mean 'teacher'?)", "one of own, hard"),
    ("overrides", {"protocol=mtt": {"evaluation": {}}}, "has protocol 'mtt'", "there are dc, dsa"),
    ("execution.device", "gpu", '"gpu"', "auto, cpu, cuda or cuda:N"),
    ("overrides", {"datset=MNIST": {}}, "'datset' (did you mean 'dataset'?)", "method, network"),
    ("overrides", {"MNIST": {}}, "'MNIST' is not a condition", "like 'dataset=MNIST method=dc'"),
    ("overrides", {"dataset= MNIST": {}}, "'dataset=' is not a condition", "'dataset=MNIST "),
    ("overrides", {"": {}}, "has no condition", "allowed are dataset, method"),
    ("overrides", {"ipc=ten": {"dc": {}}}, "has ipc 'ten'", "there are 1, 10, 15, 50, all"),
    ("overrides", {"ipc=010": {"dc": {}}}, "has ipc '010'", "(did you mean '10'?)"),
    ("overrides", {"dataset=MNITS": {"dc": {}}}, "has dataset 'MNITS'", "(did you mean 'MNIST'?)"),
    ("overrides", {"method=dcc": {"dc": {}}}, "'dcc' (did you mean 'dc", "there are random"),
    ("overrides", {"method=dc-msee": {"dc": {}}}, "'dc-msee'", "(did you mean 'dc-mse'?)"),
    ("overrides", {"tested=ConvNett": {"evaluation": {}}}, "tested 'ConvNett'", "mean 'ConvNet'?"),
    ("overrides", {"network=VGG11": {"dc": {}}}, "network 'VGG11'", "(did you mean 'VGG11BN'?)"),
    ("overrides", {"network=batchnorm": {"dc": {}}}, "has network 'batchnorm'", "'ConvNet-batchn"),
    ("condensation.snapshots", [0], "'condensation.snapshots[0]': 0", "integer, at least 1"),
    ("condensation.snapshots", [20000], "no set of the main grid has iterations after these", "dc"),
    ("methods", ["dc@10"], '"dc@10"', "random, forgetting"),
    # overrides that never apply
    ("overrides", {"dataset=SVHN network=MLP": {"dc": {}}}, "no cell of the grids fits all", ""),
    ("overrides", {"ipc=1 ipc=10": {}}, "'ipc=1' and 'ipc=10' contradict", "one of them is"),
    ("overrides", {"method=dd": {"dc": {}}}, "'overrides.method=dd.dc': no cell", "uses 'dc'"),
    ("overrides", {"ipc=1": {"dc-x": {}}}, "no cell that fits its conditions uses 'dc-x'", ""),
    ("overrides", {"tested=MLP": {"dc": {}}}, "'dc' does not depend on tested", "ipc, seed"),
    ("overrides", {"method=herding": {"reference_network": {}}}, "not depend on method",
     "allowed are conditions on dataset, network"),
    ("overrides", {"network=LeNet": {"reference_network": {}}}, "uses 'reference_network'", ""),
    ("overrides", {"ipc=1 method=dc": {}, "method=dc ipc=1": {}}, "are there as 'ipc=1 method=dc'",
     "allowed is one key for both"),
    # overrides of a version before
    ("condensation.dc.per_ipc", {"10": {"lr_img": 0.2}}, "'condensation.dc.per_ipc' is now written "
     "as {overrides: {ipc=10: {dc: {lr_img: 0.2}}}}", ""),
    ("evaluation.per_dataset", {"MNIST": {"epochs": 7, "per_network": {"MLP": {"batch": 3}}}},
     "{dataset=MNIST: {evaluation: {epochs: 7}}, dataset=MNIST tested=MLP: {evaluation: {", ""),
    ("reference_network.per_network", {"MLP": {"lr": 1}}, "{network=MLP: {reference_network: {lr: ",
     ""),
    ("overrides.dataset=MNIST.dc", {"per_ipc": {10: {"lr_img": 1}}}, "per_ipc' is now written as",
     "{dataset=MNIST ipc=10: {dc: {lr_img: 1}}}"),
    ("per_dataset", {"MNIST": {}}, "'per_dataset' is now written as in {overrides: ", ""),
    ("evaluation.per_method", None, "'evaluation.per_method' is now written as in {overr", ""),
    # two names of one thing
    ("datasets", ["SVHN", {"name": "svhn", "source": "SVHN"}], "'SVHN' and 'svhn'", "only in case"),
    ("condensation.dc-COS", {}, "'dc-cos' and 'dc-COS' differ only in case", "allowed is one"),
    ("ablations", {"a": SECTION, "A": None}, "'a' and 'A' differ only in case", "allowed is one"),
    ("networks", ["ConvNet-relu-width4", "ConvNet-width4-relu"], "'ConvNet-relu-width4' and "
     "'ConvNet-width4-relu' are the same network", "allowed is one name"),
    # contradictions
    ("images_per_class", [1, 5001], "5001 images per class", "smallest class of 'SVHN' has 4659"),
    ("networks", ["ConvNet-relu-swish"], "'relu' and 'swish' contradict", "one of them is allowed"),
    ("networks", ["ConvNet-depth1-depth2"], "'depth1' and 'depth2'", "one of them is allowed"),
    ("networks", ["ConvNet-width6-groupnorm"], "width 6 with groupnorm", "multiples of 4"),
    ("table2", [{**SECTION, "methods": ["dd"], "networks": ["VGG11BN"]}], "'dd' with network "
     "'VGG11BN'", "no network with BatchNorm"),
    ("ablations", {"n": {**SECTION, "methods": ["dd"], "networks": ["ConvNet-batchnorm"]}},
     "ConvNet-batchnorm", "no network with BatchNorm"),
    ("cross_architecture", {**SECTION, "datasets": ["digits"], "evaluation_networks": ["LeNet"]},
     "images of 'digits' have 8x8 pixels", "smallest that it takes are 16x16"),
    ("ablations", {"d": {**SECTION, "datasets": [{"name": "MNIST", "image_size": 8}]}},
     "two data sets are called 'MNIST'", ""),
    ("ablations", {"../x": SECTION}, "\"../x\" is not allowed", "letters, digits, '_', '-' and"),
    ("condensation.idc", {"factor": 15}, "method 'idc': factor 15 leaves no image in",
     "allowed are 1, 2, 3, 4, 5, 6, 7, 10, 14"),
    ("condensation.dsa", {"augmentation": ["noise"]}, "'condensation.dsa.augmentation[0]'", "flip"),
    ("condensation.dc-/x", {}, "'condensation.dc-/x' is unknown", "allowed here: dc, dd"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "shown", "allowed"),
    CONFIGS,
    ids=[f"{path}-{shown}" for path, _, shown, _ in CONFIGS],
)
def test_wrong_configs(path, value, shown, allowed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = partial(Grid, changed(path, value), sources.look, CONFIG)
    refused(call, path.split(".")[-1], shown, allowed)
    assert not list(tmp_path.iterdir())


DATASETS = [
    ([{"source": "folder"}], "'datasets[0].name' is missing", ""),
    ([{"name": "../../etc", "source": "digits"}], '"../../etc"', NAMES),
    ([{"name": "a/b", "source": "digits"}], '"a/b"', NAMES),
    ([{"name": "a\n", "source": "digits"}], r'"a\n"', NAMES),
    ([{"name": "a" * 61, "source": "digits"}], "aaa", "at most 60 characters"),
    ([{"name": "Tables", "source": "digits"}], "'Tables'", "folders tables, figures"),
    ([{"name": "MNIST", "pth": "x"}], "datasets[0].pth", "did you mean 'path'"),
    ([{"name": "a", "source": "zip"}], "'datasets[0].source': \"zip\"", "folder, npz"),
    ([{"name": "a", "source": "npz"}], "'datasets[0].path' is missing", ""),
    ([{"name": "a", "source": "digits", "path": "x"}], "'a': 'path'", "goes with source folder"),
    ([{"name": "a", "image_size": 8}], "'datasets[0].name': \"a\"", "one of MNIST"),
    (["MNIST", {"name": "MNIST", "source": "digits"}], "two data sets are called 'MNIST'", ""),
    ([{"name": "MNIST", "image_size": 0}], "image_size': 0", "at least 4"),
    ([{"name": "MNIST", "image_size": [28]}], "image_size': [28]", "at least 2 entries"),
    ([{"name": "MNIST", "image_size": 10**6}], "image_size': 1000000", "at most 4096"),
    ([{"name": "MNIST", "std": [0]}], "std[0]': 0", "above 0"),
    ([{"name": "MNIST", "mean": [float("nan")]}], "mean[0]': NaN", "finite"),
    ([{"name": "MNIST", "mean": [0.1, 0.2]}], "mean is [0.1, 0.2]", "each of its 1 channels"),
    ([{"name": "CIFAR10", "std": [0.1]}], "std is [0.1]", "above 0 for each of its 3 channels"),
    ([{"name": "a", "source": "npz", "path": "none.npz"}], "no file none.npz", "an .npz with"),
    ([{"name": "a", "source": "folder", "path": "none"}], "none is not a folder", "none/train"),
    ([{"name": "a", "source": "folder", "path": "~nobody9/x"}], "~nobody9/x", "home"),
    ([{"name": "a", "source": "npz", "path": "x" * 999}], "xxx", "too long"),
    (["EMNIST"], "'datasets[0]': \"EMNIST\"", "(did you mean one of EMNIST-byclass, "
     "EMNIST-bymerge, "),
    # which images
    ([{"name": "MNIST", "classes": [3]}], "classes': [3]", "at least 2 entries"),
    ([{"name": "MNIST", "classes": [3, -1]}], "classes[1]': -1", "at least 0"),
    ([{"name": "MNIST", "classes": [3, 10]}], "class 10: allowed is an index from 0 to 9",
     "0 - zero"),
    ([{"name": "MNIST", "classes": [3, 3]}], "class '3 - three' is twice", ""),
    ([{"name": "CIFAR10", "classes": ["cat", "dgo"]}], "class 'dgo' is not one of its 10 classes",
     "(did you mean 'dog'?)"),
    ([{"name": "MNIST", "validation": 0}], "validation': 0", "a share below 1, or a number"),
    ([{"name": "MNIST", "validation": 1.5}], "validation is 1.5", "a share below 1"),
    ([{"name": "MNIST", "validation": "all"}], "validation': \"all\"", "or a number, of the"),
    ([{"name": "MNIST", "validation": "merge"}], "has no validation images of its own",
     "allowed is"),
    ([{"name": "MNIST", "validation": 5}], "validation is 5, 5 of its 60000",
     "each of the 10 classes"),
    ([{"name": "MNIST", "validation": 59995}], "59995 of its 60000", "to leave one of each"),
    ([{"name": "MNIST", "max_per_class": 9}], "10 images per class",
     "smallest class of 'MNIST' has 9"),
    ([{"name": "digits", "validation": 0.99}], "images per class",
     "smallest class of 'digits' has 1"),
]  # fmt: skip


@pytest.mark.parametrize(("datasets", "shown", "allowed"), DATASETS, ids=lambda x: str(x)[:40])
def test_wrong_data_sets(datasets, shown, allowed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {**changed("datasets", datasets), "table2": None, "ablations": None}
    config["cross_architecture"] = None
    refused(lambda: Grid(config, sources.look, CONFIG), shown, allowed)
    assert not list(tmp_path.iterdir())


ARRAYS = {
    "train_images": np.zeros((6, 9, 7, 3), np.uint8),
    "train_labels": np.array([0, 1, 2, 0, 1, 2]),
    "test_images": np.zeros((3, 9, 7, 3), np.uint8),
    "test_labels": np.array([0, 1, 2]),
}
NPZ = [
    ({"test_labels": None}, "no array test_labels", "it has train_images"),
    ({"train_images": np.zeros((6, 9, 7, 3), complex)}, "train_images", "complex128",
     "numbers from"),
    ({"train_images": np.zeros((6, 63), np.uint8)}, "(6, 63)", "[n, h, w]"),
    ({"train_images": np.zeros((6, 2, 9, 7), np.uint8)}, "has 2 channels", "with 1 or 3 channels"),
    ({"train_images": np.zeros((6, 9, 7, 4), np.uint8)}, "4 channels (with transparency?",
     "[..., :3]"),
    ({"train_images": np.zeros((6, 9, 9, 9), np.uint8)}, "9 channels (volumes", "1 or 3 channels"),
    ({"train_images": np.zeros((6, 0, 7, 3), np.uint8)}, "7x0 pixels", "at least 1x1"),
    ({"test_images": np.zeros((3, 8, 8, 3), np.uint8)}, "(3, 9, 7)", "test images (3, 8, 8)"),
    ({"train_labels": np.array([0.5] * 6)}, "numbers that are not whole", "integers from 0, or"),
    ({"train_labels": np.array([np.inf] * 6)}, "train_labels", "not whole",
     "of shape [n] or [n, 1]"),
    ({"train_labels": np.array(list("catdog"))}, "train_labels", "has texts, and another split",
     "one"),
    ({"train_labels": np.eye(3, dtype=int)[[0, 1, 2] * 2]}, "(6, 3)",
     "one-hot: store labels.argmax(1)"),
    ({"train_labels": np.ones((6, 14), int)}, "has 14 numbers an image", "multi-label: choose one"),
    ({"train_labels": np.array([0, 1])}, "6 train images but 2 labels"),
    ({"train_labels": np.array([0, 0, 0, 1, 1, 1])}, "test labels from 0 to 2", "are 0 to 1"),
    ({"train_labels": np.array([0, 1, 2, 0, 1, -1])}, "the label -1", "leave these images out"),
    ({"train_labels": np.array([0, 1, 2, 0, 1, 2**62])}, "4 labels from 0 to 4611", "from 0 to 3"),
    ({"train_labels": np.array([0, 1, 7] * 2)}, "3 labels from 0 to 7", "searchsorted"),
    ({"train_labels": np.array([1, 2, 3] * 2)}, "labels from 1 to 3",
     "from 0 to 2: store labels - 1"),
    ({"val_labels": np.array([0])}, "has no array val_images", "it has train_images"),
    ({"val_images": np.zeros((0, 9, 7, 3), np.uint8), "val_labels": np.zeros(0, int)}, "validation "
     "split has no image"),
    ({"val_images": np.zeros((1, 8, 8, 3), np.uint8), "val_labels": [1]},
     "validation images (3, 8"),
    ({"test_labels": np.array([0, 0, 1])}, "class '2' has no test image"),
    ({"train_labels": np.zeros(6, int), "test_labels": np.zeros(3, int)}, "2 classes", "it has 1"),
    ({"class_names": np.array(["a", "a", "b"])}, "class_names", "no name twice"),
    ({"class_names": np.arange(3)}, "class_names in", "is int64", "allowed are texts"),
    ({"class_names": np.array(["a", "b", "c"], object)}, "class_names in", "Python objects",
     "dtype=str"),
    ({"class_names": np.array(["a", "b", "c"]), "train_labels": np.array(list("abcabd")),
      "test_labels": np.array(list("abc"))}, "train_labels in", "has 'd'", "one of a, b, c"),
    ({"class_names": np.array(["a", "b"])}, "train labels from 0 to 2", "allowed are 0 to 1"),
    ({"train_labels": np.array(["a"] * 6, dtype=object)}, "Python objects",
     "only unpickling reads"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "parts"), [(row[0], row[1:]) for row in NPZ])
def test_npz_that_do_not_fit(change, parts, tmp_path):
    path = tmp_path / "own.npz"
    arrays = {key: value for key, value in {**ARRAYS, **change}.items() if value is not None}
    np.savez(path, **arrays)
    refused_as_planned_and_read(tmp_path, "npz", path, *parts)


def refused_as_planned_and_read(tmp_path, source, path, *parts, **options):
    """A plan refuses the user's own data set, and so does a reader, if nothing has planned it."""
    before = set(tmp_path.rglob("*"))
    own = {"name": "own", "source": source, "path": str(path), **options}
    config = changed("datasets", [own])
    config["images_per_class"] = [1]
    refused(lambda: Grid(config, sources.look, CONFIG), "own", *parts)
    refused(lambda: sources.read(own), "own", *parts)
    assert set(tmp_path.rglob("*")) == before


@pytest.fixture
def pictures(tmp_path):
    """Four and two 10x12 pictures of cats and as many of dogs."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            place = tmp_path / "pictures" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(256, size=(12, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return tmp_path / "pictures"


def another_size(root):
    Image.new("RGB", (5, 5)).save(root / "train/dog/9.png")
    return "train/dog/9.png has 5x5 pixels", "10x12", "give the data set an image_size"


def no_picture(root):
    (root / "train/dog/9.png").write_bytes(b"not an image")
    return ("train/dog/9.png is not a readable image",)


def empty_picture(root):
    (root / "train/dog/9.png").write_bytes(b"")
    return ("train/dog/9.png is not a readable image (it is empty): remove it",)


def other_colours(root):
    Image.new("LAB", (10, 12)).save(root / "train/dog/9.tif")
    return "train/dog/9.tif", "mode LAB", "allowed are 1, L", "convert it to RGB"


def only_photos_of_a_phone(root):
    (root / "train/cow").mkdir()
    (root / "train/cow/1.heic").write_bytes(b"x")
    return "train/cow has no image", "allowed are .jpg", "there are 1 .heic", "convert its files"


def two_of_a_split(root):
    shutil.copytree(root / "test", root / "Test")
    return "/Test and ", "/test are both a test split", "rename or remove"


def no_classes(root):
    for path in (root / "test").rglob("*.png"):
        path.rename(root / "test" / f"{path.parent.name}{path.name}")
    for name in ("cat", "dog"):
        (root / "test" / name).rmdir()
    return ("/test has no folder for a class; expected is a folder of images for each class",)


def validation_alone(root):
    (root / "test").rename(root / "val")
    return "/test is not a folder", "say `test: validation` to test on", "/val, or `test: 0.2`"


def no_split_at_all(root):
    (root / "train/cat").rename(root / "cat")
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")
    return "/train is not a folder", "if cat are classes, say", "as `test: 0.2`"


def empty_class(root):
    (root / "train/cow").mkdir()
    return "train/cow has no image", "allowed are .jpg"


def class_in_one_split(root):
    shutil.copytree(root / "train/dog", root / "train/cow")
    return "class 'cow' is in one of", "every class has a folder in both"


def one_class(root):
    for split in ("train", "test"):
        shutil.rmtree(root / split / "dog")
    return "at least 2 classes are needed, it has 1"


def no_split(root):
    shutil.rmtree(root / "test")
    return "test is not a folder", "expected"


FOLDERS = [another_size, no_picture, empty_picture, other_colours, empty_class, class_in_one_split,
           only_photos_of_a_phone, one_class, no_split, two_of_a_split, no_classes,
           validation_alone, no_split_at_all]  # fmt: skip


@pytest.mark.parametrize("spoil", FOLDERS, ids=lambda spoil: spoil.__name__)
def test_folders_that_do_not_fit(spoil, pictures, tmp_path):
    refused_as_planned_and_read(tmp_path, "folder", pictures, *spoil(pictures))


def test_mean_and_deviation_of_own_data(pictures, tmp_path):
    for mean, std, part in [
        ([0.1], None, "mean is [0.1]; allowed is a finite number for each of its 3 channels"),
        (None, [0.1] * 4, "for each of its 3 channels"),
    ]:
        given = {key: value for key, value in (("mean", mean), ("std", std)) if value}
        refused_as_planned_and_read(tmp_path, "folder", pictures, part, **given)
    own = {"name": "own", "source": "folder", "path": str(pictures)}
    for std in ([0.0] * 3, [float("nan")] * 3, [-1.0] * 3):  # the schema refuses them in a config
        refused(partial(sources.read, {**own, "std": std}), "above 0", std[0])


def test_what_own_data_are_too_small_for_is_planned(pictures):
    """The facts of a user's own data are held against every cell."""
    own = {"name": "own", "source": "folder", "path": str(pictures)}
    config = {**changed("datasets", [own]), "images_per_class": [5], "methods": ["random", "dc"]}
    refused(lambda: Grid(config, sources.look, CONFIG), "5 images per class", "'own' has 4")
    config = {**config, "images_per_class": [4], "networks": ["LeNet"]}
    refused(lambda: Grid(config, sources.look, CONFIG), "'own' have 10x12 pixels", "16x16")
    config["datasets"] = [{**own, "image_size": 16}]
    assert Grid(config, sources.look, CONFIG).facts["own"] == (3, (16, 16), 4)
    assert "own" not in Grid(config, base=CONFIG).facts  # a job of a cluster does not look again


def test_the_facts_of_public_data(digits):
    assert sources.without_path()["digits"] == (
        digits.channels, digits.image_size, min(map(len, digits.train_indices)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (" ", "is empty or has a character"),
        ("a{b}", "is empty or has a character"),
        ("a<b>", "is empty or has a character"),
        ("a\nb", "is empty or has a character"),
        ("/", "is the root"),
        ("results/../..", "holds the pipeline"),
        (".", "holds the pipeline"),
        (str(ROOT.parent), "holds the pipeline"),
        ("dclib", "belongs to the pipeline"),
        (str(ROOT / "rules/x"), "belongs to the pipeline"),
        ("README.md", "is a file"),
        ("README.md/x", "is below the file"),
        ("~nobody-of-this-name/x", "is in a home that is not known"),
        ("-r", "begins with '-'"),
        ("./-r", "is written in a way in which none of its files can be asked for"),
        ("http://x/y", "is an address"),
        ("x" * 999, "cannot be opened (File name too long)"),
    ],
)
def test_folders_that_results_do_not_belong_in(path, why, monkeypatch):
    monkeypatch.chdir(ROOT)
    refused(
        partial(paths.results_folder, path, ROOT),
        "'results_dir'",
        why,
        "allowed is a folder of its own",
    )


def test_folders_that_results_may_be_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(partial(paths.results_folder, ".", ROOT), "'results_dir'", "none of its files")
    monkeypatch.chdir(ROOT)
    assert paths.results_folder("results//demo/", ROOT) == "results/demo"
    assert paths.results_folder(f"{tmp_path}/new", ROOT) == f"{tmp_path}/new"
    assert paths.results_folder("../elsewhere", ROOT) == "../elsewhere"
    assert not paths.results_folder("~/runs", ROOT).startswith("~")


def test_links_that_lead_to_no_folder(tmp_path):
    for name, target, why in (("a", "b", "to nothing"), ("loop", "loop", "in a circle")):
        (tmp_path / name).symlink_to(tmp_path / target)
        refused(partial(paths.results_folder, f"{tmp_path}/{name}", ROOT), f"is a link {why}")


def test_every_folder_of_the_pipeline_is_kept_from_results():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout.split()
    assert {name.split("/")[0] for name in listed if "/" in name} <= set(paths.PROJECT_FOLDERS)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A copy of the pipeline with wrong files of the user's."""
    project = clone(tmp_path_factory.mktemp("pristine"))
    (project.root / "torn.yaml").write_text("seeds: [0\nmethods: }\n")
    (project.root / "words.yaml").write_text("seeds and methods\n")
    (project.root / "deep.yaml").write_text("seeds: " + "[" * 5000)
    (project.root / "circle.yaml").write_text("datasets: [digits]\nevaluation: &a {b: *a}\n")
    (project.root / "binary.yaml").write_bytes(b"\xff\xfe\0seeds")
    (project.root / "image.yaml").write_text(
        yaml.safe_dump({"datasets": [{"name": "own", "source": "npz", "path": "small.npz"}]})
    )
    np.savez(project.root / "small.npz", **ARRAYS)
    return project


SMALL = ("--configfile", "small.yaml")
COMMAND_LINES = [
    # What Snakemake reads before the Snakefile.
    (["--configfile", "none.yaml"], "--configfile none.yaml", "No such file", "YAML files"),
    (["--configfile", "small.yaml", "table1"], "--configfile table1", "up to the next option"),
    (["--configfile", "dclib"], "--configfile dclib", "Is a directory", "YAML files"),
    (["--configfile", "torn.yaml"], "torn.yaml is not a config in YAML", "line 2, column 8"),
    (["--configfile", "words.yaml"], "words.yaml is not a config in YAML", "KEY: VALUE"),
    (["--configfile", "binary.yaml"], "binary.yaml is not a config in YAML", "invalid start byte"),
    (["--configfile", "deep.yaml"], "deep.yaml is not a config in YAML", "more than 50 deep"),
    (["--configfile", "circle.yaml"], "circle.yaml: line 2", "more than 50 deep"),
    (["--config", "seeds"], "--config seeds", "Allowed is KEY=VALUE"),
    (["--config", "seeds=[0]", "table1"], "Unparsable value: 'table1'", "Allowed is KEY=VALUE"),
    # What the Snakefile refuses.
    ([*SMALL, "--config", "seeds=[0,x]"], "'seeds[1]': \"x\"", "integer, at least 0"),
    ([*SMALL, "--config", "seed=1"], "'seed' is unknown", "did you mean 'seeds'?"),
    ([*SMALL, "--config", "results_dir=config.yaml"], "'config.yaml' is a file", "folder of its"),
    ([*SMALL, "--config", "networks=[AlexNet]"], "'digits' have 8x8", "16x16"),
    (["--configfile", "image.yaml"], "10 images per class", "smallest class of 'own' has 2"),
    # Targets.
    ([*SMALL, "-p", "tabel1"], "target 'tabel1'", "one of all, figures", "did you mean 'table1'?"),
    ([*SMALL, "-p", "prepare"], "target 'prepare'", "one of all, figures"),
    ([*SMALL, "-p", "table2"], "target 'table2': the config asks for", "one of evaluations"),
    ([*SMALL, "-p", "README.md"], "target 'README.md'", "one of all, figures"),
    ([*SMALL, "-p", "results/../x/data.safetensors"], "results/../x", "under results/"),
    ([*SMALL, "-p", "results/x/../../data.safetensors"], "results/x/../..", "under results/"),
    ([*SMALL, "-p", f"results/{folder('..', 'dc')}/set.png"], "results/../dc", "under results/"),
    ([*SMALL, "-p", "results/{dataset}/data.safetensors"], "results/{dataset}", "under results/"),
    ([*SMALL, "-p", "results/digitz/data.safetensors"], "'digitz'", "did you mean 'digits'?"),
    ([*SMALL, "-p", f"results/{folder('digitz', 'dc')}/set.png"], "'digitz'", "'digits'?"),
    ([*SMALL, "-p", f"results/{folder('digits', 'dc', ipc='all')}/set.png"], "'dc' with ipc 'all'",
     "`whole` has ipc all"),
    ([*SMALL, "-p", f"results/{folder('digits', 'whole', ipc=5)}/eval/MLP.csv"], "ipc '5'",
     "`whole` has ipc all"),
    ([*SMALL, "-p", f"results/{folder('digits', 'dc')}/eval/LeNett.csv"], "'LeNett'",
     "did you mean 'LeNet'?"),
    ([*SMALL, "-p", f"results/{folder('digits', 'dc')}/eval/LeNet.csv"], "8x8", "16x16"),
    ([*SMALL, "-p", f"results/{folder('digits', 'herding', ipc=5000)}/set.png"], "5000", "has 140"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "parts"),
    [(row[0], row[1:]) for row in COMMAND_LINES],
    ids=[" ".join(row[0]) for row in COMMAND_LINES],
)
def test_wrong_command_lines(words, parts, pristine):
    before = contents(pristine.root)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *words],
        cwd=pristine.root, text=True, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    for part in parts:
        assert part in line, line
    assert contents(pristine.root) == before


def contents(root):
    """All files but Snakemake's own notes and compiled modules."""
    return {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and not {".snakemake", "__pycache__"} & set(path.parts)
    }


def test_a_torn_config_of_the_project(tmp_path):
    project = clone(tmp_path)
    (tmp_path / "config.yaml").write_text("seeds: [0\n")
    done = project.snakemake("--cores", "1", check=False)
    assert done.returncode != 0
    assert f"error: {tmp_path}/config.yaml is not a config in YAML: " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_lists_after_config_are_understood(tmp_path):
    project = clone(tmp_path)
    planned = project.planned("--config", "seeds=[3,4]", "--", "figures")
    assert {output for rule, output in planned if rule == "condense"} == {
        f"{folder(dataset, 'dc', seed=seed)}/set.safetensors"
        for dataset in ("digits", "again")
        for seed in (3, 4)
    }


def test_damaged_pixels_stop_everything_before_it_starts(tmp_path, pictures):
    """What only reading the data can show: `prepare` says it, in one line, and goes first."""
    project = clone(tmp_path / "project")
    damaged = pictures / "train/cat/1.png"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:60] + bytes(20) + content[80:])
    own = {"name": "own", "source": "folder", "path": str(pictures)}
    project.configure(datasets=["digits", own])
    done = project.snakemake("--cores", "1", "all", check=False)
    assert done.returncode != 0
    log = (project.root / "results/own/data.log").read_text().splitlines()
    (line,) = [line for line in log if " ERROR " in line]
    assert f"data set 'own': {damaged} is not a readable image (" in line
    assert "Traceback" not in "\n".join(log)
    assert not list(project.root.glob("results/own/data.safetensors"))
    assert not list(project.root.glob("results/**/set.safetensors"))


def test_a_gpu_that_is_not_there(tmp_path):
    project = clone(tmp_path)
    project.configure(execution={"device": "cuda:99"})
    target = f"results/{folder('digits', 'dc')}/set.safetensors"
    done = project.snakemake("--cores", "1", target, check=False)
    assert done.returncode != 0
    log = (project.root / target).with_name("set.log").read_text()
    (line,) = [line for line in log.splitlines() if " ERROR " in line]
    assert "device: 'cuda:99', but PyTorch sees" in line
    assert "Traceback" not in log
    assert not (project.root / target).exists()
