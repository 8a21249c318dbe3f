"""IDC against the plain loop, image by image, and what it is told by data set."""

import dataclasses

import pytest
import torch
from reference import idc as reference

from dclib.data.datasets import ImageDataset
from dclib.errors import InputError
from dclib.methods.idc.method import create
from dclib.methods.idc.settings import Settings, relevant
from dclib.networks import names
from dclib.pipeline.grid import Grid
from dclib.pipeline.paths import Cell
from dclib.seeding import Streams

DOUBLE, CPU = torch.float64, torch.device("cpu")


@pytest.fixture(scope="module")
def tiny():
    """Random images of three classes, 3x8x8."""
    labels = torch.arange(36) % 3
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (36, 3, 8, 8), generator=random, dtype=torch.uint8)
    return ImageDataset(
        "tiny", images, labels, images[:6], labels[:6],
        (0.5, 0.4, 0.3), (0.3, 0.2, 0.25), ("a", "b", "c"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        ("ConvNet-width8", {}),
        ("ConvNet-width8", {"factor": 1, "distance": "l1", "engine": "batched", "cutmix": 1.0}),
        ("MLP", {"synthetic_batch": 3, "cutmix": 0.0, "net_augmentation": ()}),
        ("ConvNet-width8-batchnorm", {"engine": "batched", "augmentation": ("crop", "rotate")}),
    ],
)
def test_two_whole_iterations_agree_with_the_plain_loop(tiny, network, changes):
    settings = dataclasses.replace(
        Settings(
            iterations=2, outer_steps=3, real_batch=4, batchnorm_batch=4, batch_net=8,
            net_images=20, lr_img=0.5, lr_net=0.1,
        ),
        **changes,
    )  # fmt: skip
    method = create(network, settings, tiny, 2, CPU, DOUBLE)
    state = method.start(Streams("cell"))
    before = state.images.clone()
    losses = [float(method.step(state)["loss"]) for _ in range(2)]
    images, of_classes = reference.condense(
        tiny, 2, settings, Streams("cell"), network=network, dtype=DOUBLE
    )
    torch.testing.assert_close(state.images, images, rtol=0, atol=1e-9)
    mean = torch.tensor(of_classes, dtype=DOUBLE).view(2, 9).mean(1)
    torch.testing.assert_close(torch.tensor(losses, dtype=DOUBLE), mean, rtol=1e-12, atol=1e-9)
    assert (state.images - before).abs().max() > 1e-4
    assert float(state.images.min()) >= 0
    assert float(state.images.max()) <= 1
    made = method.result(state)
    torch.testing.assert_close(made.pixels(), state.images, rtol=0, atol=1e-12)
    assert made.factor == settings.factor


def test_small_images_begin_as_real_ones(digits):
    method = create("MLP", Settings(), digits, 1, CPU)
    state = method.start(Streams("cell"))
    every = digits.train_images[:, :, ::2, ::2] / 255
    for image, label in zip(state.images, state.labels, strict=True):
        for i in (0, 4):
            for j in (0, 4):
                near = (every - image[:, i : i + 4, j : j + 4]).abs().flatten(1).max(1).values
                found = (near < 1e-5).nonzero().flatten()
                assert label in digits.train_labels[found]


def test_settings_are_the_published_ones_of_each_data_set():
    config = {
        "datasets": ["MNIST", "FashionMNIST", "SVHN", "CIFAR10"], "images_per_class": [1],
        "methods": ["idc", "idc-i"], "networks": ["ConvNet"], "seeds": [0],
    }  # fmt: skip
    grid = Grid(config, None)
    wanted = ("distance", "lr_img", "net_images", "factor", "cutmix")
    for dataset, method, *values in (
        ("MNIST", "idc", "l1", 1e-4, 500, 2, 0.0),
        ("MNIST", "idc-i", "l1", 1e-4, 500, 1, 0.5),
        ("FashionMNIST", "idc", "l1", 1e-4, 500, 2, 0.5),
        ("SVHN", "idc", "mse", 5e-3, 500, 2, 0.5),
        ("CIFAR10", "idc", "mse", 5e-3, 2000, 2, 0.5),
        ("CIFAR10", "idc-i", "mse", 5e-3, 2000, 1, 0.5),
    ):
        told = grid.condensation(Cell(dataset, method, "ConvNet", "1", 0))
        assert [told[name] for name in wanted] == values
        cutout = (dataset, method) != ("MNIST", "idc")
        assert told["augmentation"] == ["color", "crop"] + ["cutout"] * cutout

    said = {"idc-i": {"momentum_img": 0.1}, "idc": {"lr_img": 0.5, "factor": 4}}
    grid = Grid({**config, "condensation": said}, None)
    for method, *values in (("idc", 0.5, 4, 0.5), ("idc-i", 0.5, 1, 0.1)):
        told = grid.condensation(Cell("MNIST", method, "MLP", "1", 0))
        assert [told[name] for name in ("lr_img", "factor", "momentum_img")] == values
    said["idc-i"]["factor"] = 2
    told = Grid({**config, "condensation": said}, None).condensation(
        Cell("MNIST", "idc-i", "MLP", "1", 0)
    )
    assert told["factor"] == 2
    for key, value in (("method=idc-i", 3), ("dataset=MNIST", 3)):
        overrides = {key: {"idc": {"factor": value}}}
        told = Grid({**config, "overrides": overrides}, None).condensation(
            Cell("MNIST", "idc-i", "MLP", "1", 0)
        )
        assert told["factor"] == value
    with pytest.raises(InputError, match="'idc-I' and 'idc-i' differ only in case"):
        Grid({**config, "condensation": {"idc-I": {}}}, None)


def test_settings_that_cannot_touch_a_set_are_not_among_the_relevant(tiny):
    plain = names.parse("MLP")
    one = Settings(outer_steps=1, iterations=1, real_batch=4)
    idle = set(dataclasses.asdict(one)) - set(relevant(one, plain, 1))
    assert {"net_images", "cutmix", "synthetic_batch", "lr_net", "batchnorm_batch"} <= idle
    other = {
        "net_images": 5, "cutmix": 0.1, "synthetic_batch": 9, "lr_net": 0.5, "batchnorm_batch": 3,
        "batch_net": 7, "momentum_net": 0.1, "weight_decay_net": 0.1, "inner_epochs": 2,
        "net_augmentation": ("flip",),
    }  # fmt: skip
    assert set(other) == idle
    results = []
    for settings in (one, dataclasses.replace(one, **other)):
        method = create("MLP", settings, tiny, 1, CPU)
        state = method.start(Streams("cell"))
        method.step(state)
        results.append(state.images)
    assert torch.equal(*results)
    assert "synthetic_batch" in relevant(Settings(), plain, 50)
