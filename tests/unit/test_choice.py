"""Which images are used: classes, held out, limited; archives as people have them."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from dclib.applications.evaluation.evaluate import Evaluation
from dclib.applications.evaluation.settings import Settings
from dclib.data import choice, sources
from dclib.data.checks import Arrays
from dclib.data.datasets import ImageDataset
from dclib.data.sources.settings import Options
from dclib.errors import Damaged, InputError
from dclib.pipeline import settings as configuration
from dclib.pipeline.grid import Grid
from dclib.seeding import Streams

CPU = torch.device("cpu")


def options(**given):
    return Options(name="own", source="npz", **given)


def arrays(counts, names="abcdefgh"):
    """Training images of which each is one of a kind, in no order; one test image a class."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    tested = np.arange(len(counts))
    return Arrays(images, labels, images[: len(counts)], tested, [*names[: len(counts)]])


sizes = st.lists(st.integers(2, 40), min_size=2, max_size=6)


@settings(max_examples=60, derandomize=True, database=None, deadline=None)
@given(sizes, st.integers(1, 100), st.integers(0, 3))
def test_held_out_in_proportion(counts, percent, seed):
    """As many of each class as scikit-learn takes, but for ties and the one that each has to have;
    all images are there once, and a plan knows of how many are left."""
    wanted = max(len(counts), sum(counts) * percent // 100)
    assume(wanted <= sum(counts) - len(counts))
    whole = arrays(counts)
    made = choice.chosen(options(validation=wanted, split_seed=seed), whole)
    found = [made.train_images, made.validation_images]
    assert sorted(np.concatenate(found).flatten()) == list(range(sum(counts)))
    for images, labels in (found[0], made.train_labels), (found[1], made.validation_labels):
        np.testing.assert_array_equal(labels, whole.train_labels[images.flatten()])
        assert (np.diff(images.flatten().astype(int)) > 0).all()
    held = np.bincount(made.validation_labels, minlength=len(counts))
    exact = np.array(counts) * wanted / sum(counts)
    assert (abs(held - np.clip(exact, 1, np.array(counts) - 1)) < 1).all()
    if exact.min() >= 1 and (np.array(counts) - exact).min() >= 1:
        assert held.sum() == wanted
        judge = StratifiedShuffleSplit(1, test_size=wanted, random_state=0)
        _, theirs = next(judge.split(whole.train_labels, whole.train_labels))
        other = np.bincount(whole.train_labels[theirs], minlength=len(counts))
        assert Counter(held - np.floor(exact)) == Counter(other - np.floor(exact))
    planned = choice.smallest_class(options(validation=wanted), choice.count(whole))
    assert planned == np.bincount(made.train_labels).min()
    share = choice.chosen(options(validation=wanted / sum(counts), split_seed=seed), whole)
    np.testing.assert_array_equal(share.validation_images, made.validation_images)


def test_more_held_out_are_the_same_and_more():
    whole = arrays([30, 50])
    held = {
        (n, seed): {*choice.chosen(options(validation=n, split_seed=seed), whole)
                    .validation_images.flatten().tolist()}
        for n in (8, 16) for seed in (0, 1)
    }  # fmt: skip
    assert held[8, 0] < held[16, 0]
    assert held[8, 0] != held[8, 1]


def test_the_rest_is_limited():
    whole = arrays([30, 4, 50])
    made = choice.chosen(options(validation=0.1, max_per_class=5), whole)
    assert np.bincount(made.train_labels).tolist() == [5, 3, 5]
    assert np.bincount(made.validation_labels).tolist() == [3, 1, 5]  # at least one
    held = choice.chosen(options(validation=0.1), whole)
    np.testing.assert_array_equal(held.validation_images, made.validation_images)
    assert {*made.train_images.flatten()} < {*held.train_images.flatten()}
    limited = choice.chosen(options(max_per_class=5), whole)
    assert np.bincount(limited.train_labels).tolist() == [5, 4, 5]
    assert limited.validation_images is None
    planned = choice.smallest_class(options(max_per_class=3), choice.count(whole))
    assert planned == 3


def test_classes_are_labelled_in_the_order_given():
    whole = arrays([3, 4, 5])
    made = choice.chosen(options(classes=("c", 0)), whole)
    assert made.class_names == ["c", "a"]
    assert np.bincount(made.train_labels).tolist() == [5, 3]
    assert made.test_labels.tolist() == [1, 0]
    old = whole.train_labels[made.train_images.flatten()]
    np.testing.assert_array_equal(old, np.array([2, 0])[made.train_labels])
    numbers = whole._replace(class_names=["1", "10", "2"])  # as folders are sorted
    made = choice.chosen(options(classes=("2", "1")), numbers)
    assert made.class_names == ["2", "1"]
    for odd, part in ((1, "is the index of '10', and '1' the name"), ("3", "is not one of its 3")):
        with pytest.raises(InputError, match=part):
            choice.chosen(options(classes=(odd, "10")), numbers)
    one = arrays([1, 9])
    with pytest.raises(InputError, match="class 'a' has 1; allowed are classes of 2 or more"):
        choice.chosen(options(validation=2), one)


@pytest.mark.parametrize(
    "chosen",
    [{"classes": [3, "5"]}, {"validation": 0.1}, {"validation": 50, "max_per_class": 20},
     {"classes": [9, 0, 1], "validation": 0.25, "max_per_class": 7}],
)  # fmt: skip
def test_what_is_planned_is_what_is_read(chosen, tmp_path):
    data = sources.read({"name": "digits", **chosen})
    smallest = int(torch.bincount(data.train_labels).min())
    assert sources.look({"name": "digits", **chosen}) == (1, (8, 8), smallest)
    path = tmp_path / "data.safetensors"
    data.save(path)
    loaded = ImageDataset.load(path)
    assert loaded.fingerprint == data.fingerprint
    assert loaded.tensors.keys() == data.tensors.keys()
    assert ("validation_images" in loaded.tensors) == ("validation" in chosen)


def test_a_flipped_bit_in_what_is_held_out_is_found(tmp_path):
    path = tmp_path / "data.safetensors"
    data = sources.read({"name": "digits", "validation": 20})
    data.save(path)
    content = bytearray(path.read_bytes())
    at = content.index(data.validation_images[3].numpy().tobytes())
    content[at + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged):
        ImageDataset.load(path)


def test_what_is_held_out_touches_nothing(digits):
    """Networks are trained and tested as without it; an accuracy stands beside, of these images."""
    how = Settings(models=2, epochs=2, batch=500, curve_points=1)

    def rows(data):
        evaluation = Evaluation("ConvNet-width4", how, data, None, CPU)
        state = evaluation.start(Streams("x"))
        while state.done < 2:
            evaluation.step(state)
        return evaluation.result(state).rows.drop(columns="seconds")

    images, labels = digits.test_images, digits.test_labels
    held = dataclasses.replace(digits, validation_images=images, validation_labels=labels)
    some = dataclasses.replace(
        digits, validation_images=images[:7], validation_labels=labels[:7].flip(0)
    )
    without, same, other = rows(digits), rows(held), rows(some)
    assert "validation_accuracy" not in without
    assert list(same.columns).index("validation_accuracy") == 3  # beside test_accuracy
    assert same["validation_accuracy"].tolist() == same["test_accuracy"].tolist()
    assert other["validation_accuracy"].tolist() != same["validation_accuracy"].tolist()
    for made in (same, other):
        assert made.drop(columns="validation_accuracy").equals(without)


def test_more_images_than_a_class_has(tmp_path):
    """Noise may become as many images as one likes; those that are there cannot be more."""
    own = {"name": "own", "source": "digits", "max_per_class": 3}
    base = configuration.load([ROOT / "config.yaml"])
    config = {**base, "datasets": [own], "images_per_class": [5], "table2": None}
    config |= {"cross_architecture": None, "ablations": None, "methods": ["dc", "dd", "whole"]}
    config |= {"networks": ["ConvNet-width4-depth1"]}
    assert Grid(config, base=base).cells()
    real = {**base["condensation"], "dc-real": {"initialisation": "real"}}
    for method in ("random", "herding", "dc-real"):
        with pytest.raises(InputError, match="of 'own' has 3") as refused:
            Grid({**config, "methods": [method], "condensation": real}, base=base)
        assert f"method '{method}'" in str(refused.value)
    from dclib.methods.dc.method import create
    from dclib.methods.dc.settings import Settings as OfDc

    data = sources.read(own)
    made = create("ConvNet-width4-depth1", OfDc(iterations=1, outer_steps=1), data, 5, CPU)
    state = made.start(Streams("y"))
    made.step(state)
    assert len(made.result(state).images) == 50
    with pytest.raises(InputError, match="as 5 real ones, but the smallest class of 'own' has 3"):
        create("ConvNet-width4-depth1", OfDc(initialisation="real"), data, 5, CPU)


# Archives


PIXELS = np.random.default_rng(1).integers(256, size=(12, 5, 4), dtype=np.uint8)
LABELS = np.arange(12) % 3


def archive(path, change=lambda part, array: {part: array}, **more):
    """An archive whose arrays `change` has had its hands on."""
    whole = {}
    for split, some in (("train", slice(0, 9)), ("test", slice(9, 12))):
        for part, array in (("images", PIXELS[some]), ("labels", LABELS[some])):
            for name, changed in change(part, array).items():
                whole[f"{split}_{name}"] = changed
    np.savez(path, **whole, **more)
    return {"name": "own", "source": "npz", "path": path}


def images(of):
    return lambda part, array: {part: of(array) if part == "images" else array}


def labels(of):
    return lambda part, array: {part: of(array) if part == "labels" else array}


SAME = {
    "as it is": images(lambda a: a),
    "labels of shape [n, 1]": labels(lambda a: a[:, None]),
    "labels of 8 bits": labels(lambda a: a.astype(np.uint8)),
    "labels big-endian": labels(lambda a: a.astype(">i8")),
    "labels of 64 bits without a sign": labels(lambda a: a.astype(np.uint64)),
    "labels as whole floats": labels(lambda a: a.astype(np.float16)),
    "labels as texts": labels(lambda a: np.array(list("012"))[a]),
    "labels as bytes": labels(lambda a: np.array([b"0", b"1", b"2"])[a][:, None]),
    "floats to 1": images(lambda a: (a / 255).astype(np.float32)),
    "floats to 255": images(lambda a: a.astype(np.float64) + 0.3 * (a < 255)),
    "big-endian floats": images(lambda a: (a / 255).astype(">f4")),
    "integers of 64 bits": images(lambda a: a.astype(np.int64)),
    "big-endian integers": images(lambda a: a.astype(">u2")),
    "Fortran": images(lambda a: np.asfortranarray(a)),
    "channels first": images(lambda a: a[:, None]),
    "channels last": images(lambda a: a[..., None]),
    "another array": lambda part, array: {part: array, "meta": np.array([{}], object)},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME.keys())
def test_archives(change, tmp_path):
    own = archive(tmp_path / "own.npz", change)
    assert sources.look(own) == (1, (5, 4), 3)
    data = sources.read(own)
    np.testing.assert_array_equal(data.train_images[:, 0].numpy(), PIXELS[:9])
    np.testing.assert_array_equal(data.test_images[:, 0].numpy(), PIXELS[9:])
    assert data.train_labels.tolist() == LABELS[:9].tolist()
    assert data.class_names == ("0", "1", "2")


def test_archives_of_keras_of_truth_values_and_of_names(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, x_train=PIXELS[:9], y_train=LABELS[:9], x_test=PIXELS[9:], y_test=LABELS[9:])
    own = {"name": "own", "source": "npz", "path": path}
    np.testing.assert_array_equal(sources.read(own).train_images[:, 0].numpy(), PIXELS[:9])
    archive(path, lambda part, a: {part: a > 1 if part == "labels" else a > 99})
    data = sources.read(own)
    assert data.class_names == ("0", "1")
    np.testing.assert_array_equal(data.train_images[:, 0].numpy(), 255 * (PIXELS[:9] > 99))
    archive(path, class_names=np.array([b"x", b"y", "ä".encode()]))
    assert sources.read(own).class_names == ("x", "y", "ä")
    texts = labels(lambda a: np.array(["eel", "cat", "dog"])[a])
    archive(path, texts)
    assert sources.read(own).train_labels[:3].tolist() == [2, 0, 1]
    archive(path, texts, class_names=np.array(["dog", "eel", "cat"]))
    assert sources.read(own).train_labels[:3].tolist() == [1, 2, 0]
    archive(path, images(lambda a: np.repeat(a[:, :3, None, :3], 4, axis=2)))
    assert sources.look(own).channels == 3  # of [n, 3, 4, 3], with a warning


@pytest.mark.parametrize(
    ("of", "part"),
    [
        (lambda a: a.astype(np.uint16) * 257, "from 0 to 65535; .*images / 257"),
        (lambda a: a / 255 - 0.5, "numbers from -0.5 to 0.5; .* or floats from 0 to 1"),
        (lambda a: np.where(a == a.max(), np.nan, a), "from nan to nan"),
        (lambda a: np.where(a == a.max(), np.inf, a), "to inf"),
    ],
)
def test_pixels_that_are_none(of, part, tmp_path):
    own = archive(tmp_path / "own.npz", images(of))
    sources.look(own)  # the header tells nothing of it
    with pytest.raises(InputError, match=part):
        sources.read(own)


def test_the_validation_split_of_an_archive(tmp_path):
    """As MedMNIST has it: what it is used as, and a plan knows."""
    held = {"val_images": PIXELS[:4], "val_labels": LABELS[:4][:, None].astype(np.uint8)}
    own = archive(tmp_path / "own.npz", labels(lambda a: a[:, None]), **held)
    data = sources.read(own)
    np.testing.assert_array_equal(data.validation_images[:, 0].numpy(), PIXELS[:4])
    assert (data.validation_labels.tolist(), len(data.train_images)) == ([0, 1, 2, 0], 9)
    merged = {**own, "validation": "merge"}
    data = sources.read(merged)
    assert (data.validation_images, len(data.train_images)) == (None, 13)
    assert sources.look(merged).smallest_class == 4
    assert sources.look(own).smallest_class == 3
    chosen = sources.read({**own, "classes": [2, 0]})
    assert chosen.validation_labels.tolist() == [1, 0, 1]
    for call in (sources.look, sources.read):
        with pytest.raises(InputError, match=r"validation is 0[.]1, and it has validation images"):
            call({**own, "validation": 0.1})
