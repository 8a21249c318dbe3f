"""ZCA whitening against its formula in NumPy, and networks that take whitened images."""

import contextlib
import dataclasses
import itertools

import numpy as np
import pytest
import torch

from dclib.applications.evaluation.evaluate import Evaluation
from dclib.applications.evaluation.settings import Settings
from dclib.data import checks, whitening
from dclib.data.checks import Facts
from dclib.data.whitening import Whitening
from dclib.errors import Damaged, InputError
from dclib.methods.imported import method as imported
from dclib.methods.imported.settings import Settings as Imported
from dclib.methods.random import method as random
from dclib.seeding import Streams

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["digits", "small"])
def case(request, digits, small):
    """Many images of 64 numbers; and 60 of 768, whose covariance has mostly no variance at all."""
    images = {name: getattr(small, name)[..., ::2, ::2] for name in ("train_images", "test_images")}
    data = {"digits": digits, "small": dataclasses.replace(small, **images)}[request.param]
    return data, Whitening.fit(data)


def by_formula(data, pixels):
    """In float64, by a singular value decomposition of NumPy's covariance."""
    real = data.train_images.double().flatten(1).numpy() / 255
    u, s, _ = np.linalg.svd(np.cov(real, rowvar=False))
    flat = pixels.double().flatten(1).numpy() - real.mean(0)
    return torch.from_numpy(flat @ u @ np.diag(1 / np.sqrt(s + 0.1)) @ u.T).view(pixels.shape)


def test_it_is_its_formula(case, monkeypatch):
    data, fitted = case
    pixels = data.test_images[:20] / 255
    expected = by_formula(data, pixels)
    torch.testing.assert_close(fitted.apply(pixels).double(), expected, rtol=0, atol=2e-5)
    assert torch.equal(fitted.apply(data.test_images[:20]), fitted.apply(pixels))
    monkeypatch.setattr(whitening, "_AT_ONCE", 7)
    in_parts = Whitening.fit(data).apply(pixels).double()
    torch.testing.assert_close(in_parts, expected, rtol=0, atol=2e-5)


def test_what_is_whitened_has_the_variances_that_are_left(case):
    """Of an eigenvalue s of the covariance, s / (s + 0.1)."""
    data, fitted = case
    flat = fitted.apply(data.train_images).double().flatten(1).numpy()
    left = np.linalg.eigvalsh(np.cov(flat, rowvar=False))
    s = fitted.values.double().numpy()
    np.testing.assert_allclose(left, np.sort(s / (s + 0.1)), atol=1e-4)
    assert np.abs(flat.mean(0)).max() < 1e-4


def test_there_is_a_way_back(case):
    """Also for what was learnt beyond black and white."""
    data, fitted = case
    generator = torch.Generator().manual_seed(0)
    beyond = torch.randn(9, *data.train_images.shape[1:], generator=generator)
    for pixels in (data.test_images[:9] / 255, beyond):
        back = fitted.invert(fitted.apply(pixels))
        torch.testing.assert_close(back, pixels, rtol=0, atol=1e-4)


def test_its_file(digits, tmp_path):
    fitted, path = Whitening.fit(digits), tmp_path / "whitening.safetensors"
    fitted.save(path)
    again = Whitening.load(path)
    assert torch.equal(again.apply(digits.test_images), fitted.apply(digits.test_images))
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Damaged):
        Whitening.load(path)
    random.select(digits, 1, Streams("set")).save(path)
    with pytest.raises(InputError, match="not a whitening, it has images, labels"):
        Whitening.load(path)


def test_images_that_are_too_large_are_refused():
    assert checks.whitening_fault("mine", Facts(3, (64, 64), 1)) == ""
    fault = checks.whitening_fault("mine", Facts(3, (224, 224), 1))
    assert "images of 'mine' are too large to be whitened: 3 x 224 x 224 = 150528" in fault


def test_networks_are_trained_and_tested_on_whitened_images(case):
    data, fitted = case
    settings = Settings(models=1, epochs=1, curve_points=1, space="whitened")
    chosen = random.select(data, 2, Streams("set"))
    for training in (chosen, None):
        made = Evaluation("MLP", settings, data, training, CPU, fitted.apply)
        pixels = data.train_images / 255 if training is None else data.pixels(chosen.images)
        pairs = ((made.examples, pixels), (made.tested, data.test_images / 255))
        for examples, plain in pairs:
            given = examples.normalised(slice(None)).double()
            torch.testing.assert_close(given, by_formula(data, plain), rtol=0, atol=5e-5)
    with pytest.raises(InputError, match="space 'whitened': there is no whitening"):
        Evaluation("MLP", settings, data, chosen, CPU)


def test_a_whitened_set_of_somebodys(digits, tmp_path, caplog):
    """It is kept as all sets are, so that it has pictures, and any protocol can train on it."""
    fitted, chosen = Whitening.fit(digits), random.select(digits, 2, Streams("set"))
    whitened = fitted.apply(digits.pixels(chosen.images))
    torch.save(whitened, tmp_path / "images_best.pt")
    torch.save(chosen.labels, tmp_path / "labels_best.pt")
    settings = Imported(file="x", space="whitened")
    load = (tmp_path / "images_best.pt", settings, digits, 2)
    made = imported.load(*load, invert=fitted.invert)
    torch.testing.assert_close(made.images, chosen.images, rtol=0, atol=1e-4)
    again = fitted.apply(digits.pixels(made.images))
    torch.testing.assert_close(again, whitened, rtol=0, atol=1e-4)
    assert not caplog.records
    for times, error in ((2, None), (40, "are pixels mostly from -.*; say another `space`")):
        torch.save(times * chosen.images, tmp_path / "images_best.pt")
        with pytest.raises(InputError, match=error) if error else contextlib.nullcontext():
            imported.load(*load, invert=fitted.invert)
    assert "taken for whitened ones, are pixels mostly from -" in caplog.text
    with pytest.raises(InputError, match="is said to be whitened, and there is no whitening"):
        imported.load(*load)


@pytest.mark.parametrize(
    ("kind", "settings", "why"),
    [
        (Imported, {"factor": 2}, "factor above 1"),
        (Imported, {"mean": (0.5,)}, "no mean or std"),
        (Settings, {"augmentation_way": "dcbench", "augmentation": ("cifar",)}, "changes pixels"),
        (Settings, {"labels": "teacher"}, "say `space: normalised` as well"),
    ],
)
def test_what_does_not_go_with_it(kind, settings, why):
    file = {"file": "x"} if kind is Imported else {}
    with pytest.raises(ValueError, match=why):
        kind(space="whitened", **settings, **file)


def test_labels_of_which_the_likeliest_class_counts(digits):
    """The same as if the set had had classes; and pictures go by it, a row a class."""
    chosen = random.select(digits, 2, Streams("set"))
    likely = 0.7 * torch.nn.functional.one_hot(chosen.labels, 10) + 0.03
    soft = dataclasses.replace(chosen, labels=likely)
    losses = []
    for training, labels in itertools.product((chosen, soft), ("own", "hard")):
        settings = Settings(models=1, epochs=60, lr=0.1, curve_points=1, labels=labels)
        made = Evaluation("MLP", settings, digits, training, CPU)
        state = made.start(Streams("cell"))
        made.step(state)
        losses.append(state.rows[0, 2].item())
    of_classes, hard, probable, of_likeliest = losses
    assert of_classes == hard == of_likeliest
    assert probable > of_classes + 0.5  # nobody can be as sure as of a class
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    mixed = dataclasses.replace(soft, images=soft.images[order], labels=likely[order])
    rows = [set(map(tuple, row.flatten(1).tolist())) for row in _by_class(mixed.grid())]
    assert rows == [set(map(tuple, row.flatten(1).tolist())) for row in _by_class(chosen.grid())]


def _by_class(picture):
    """The images in a picture of 8x8 ones, with a line between."""
    rows = picture[1:, 1:, 0].unflatten(0, (10, 9))[:, :8]
    return rows.unflatten(2, (-1, 9))[..., :8].transpose(1, 2)
