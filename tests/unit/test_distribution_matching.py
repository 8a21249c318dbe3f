"""Distribution matching against the plain transcription in tests/reference."""

import pytest
import torch
from conftest import ROOT
from reference import distribution_matching as reference
from reference import siamese

from dclib import footprint, memory
from dclib.errors import InputError
from dclib.methods.dm.method import DistributionMatching, match
from dclib.methods.dm.settings import Settings, batchnorm_bytes, peak_bytes
from dclib.methods.siamese import Siamese
from dclib.networks import names
from dclib.networks import plans as networks
from dclib.pipeline import settings as configuration
from dclib.pipeline.grid import Grid
from dclib.pipeline.paths import Cell
from dclib.seeding import Streams
from dclib.training.augmentation import dsa

CONFIG = configuration.load([ROOT / "config.yaml"])
DOUBLE = torch.float64
CPU = torch.device("cpu")
NETWORKS = ["ConvNet-width8", "MLP", "ConvNet-width8-batchnorm"]
SIZES = [9, 4, 7]  # real images of each class


def arguments(name, kinds=dsa.KINDS, side=16):
    """Network, real images, synthetic ones, kinds that are applied and numbers, by class."""
    generator = torch.Generator().manual_seed(1)
    real = [torch.randn(n, 3, side, side, generator=generator, dtype=DOUBLE) for n in SIZES]
    synthetic = torch.randn(3, 2, 3, side, side, generator=generator, dtype=DOUBLE)
    change = Siamese(kinds, 3, CPU, dsa)
    change.draw(generator)
    torch.manual_seed(2)
    network = networks.build(name, 3, (side, side), 3).double().requires_grad_(False)
    return network, real, synthetic, change


def matched(network, real, synthetic, change):
    return match(network, lambda some: torch.cat(real[some]), SIZES, synthetic, change)


def plain(network, real, synthetic, change):
    told, moves = [([], None)] * 3, change._rows
    if moves:
        applied, numbers = moves["applied"].tolist(), moves["uniform"].tolist()
        told = [
            ([k for k, used in zip(dsa.KINDS, own, strict=True) if used], u)
            for own, u in zip(applied, numbers, strict=True)
        ]
    return reference.match(network, real, synthetic, told)


@pytest.mark.parametrize("kind", dsa.KINDS)
def test_the_oracles_changes_are_those_of_the_plain_loop(kind):
    generator = torch.Generator().manual_seed(3)
    for size in ((8, 8), (9, 6)):
        image = torch.randn(3, *size, generator=generator, dtype=DOUBLE)
        u = torch.rand(dsa.NUMBERS, generator=generator, dtype=DOUBLE).tolist()
        expected = torch.tensor(siamese.change(image.tolist(), kind, u), dtype=DOUBLE)
        torch.testing.assert_close(reference.changed(image, kind, u), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [*dsa.KINDS, None])
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_and_image_gradient_agree_with_the_plain_loop(name, kind):
    given = arguments(name, (kind,) if kind else ())
    for own, expected in zip(matched(*given), plain(*given), strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("images_at_once", [1, 3, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_matching_in_pieces_is_the_same(name, images_at_once, monkeypatch):
    """Of the classes, and of a class; BatchNorm takes its statistics of all images at once."""
    network, *rest = arguments(name)
    expected = plain(network, *rest)
    each = footprint.FIRST_ORDER * names.parse(name).activation_bytes(3, (16, 16))
    passes = []
    network.features.register_forward_hook(
        lambda _, images, __: passes.extend([len(images[0])] * (not images[0].is_meta))
    )
    monkeypatch.setattr(memory, "memory_budget", lambda device: int(each * images_at_once) + 1)
    for own, other in zip(matched(network, *rest), expected, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-9)
    if "batchnorm" in name:
        assert passes == [sum(SIZES), 6]
    else:
        assert max(passes) <= images_at_once
        assert sum(passes) >= sum(SIZES) + 6


def test_the_same_images_are_at_no_distance():
    """Whatever is drawn: real and synthetic images of a class are changed alike."""
    network, _, synthetic, change = arguments("ConvNet-width8")
    loss, _ = match(network, lambda some: synthetic[some].flatten(0, 1), [2] * 3, synthetic, change)
    assert float(loss) == pytest.approx(0, abs=1e-20)


@pytest.mark.parametrize("initialisation", ["noise", "real"])
@pytest.mark.parametrize(("name", "factor"), [*((name, 1) for name in NETWORKS), ("MLP", 3)])
def test_two_whole_iterations_agree_with_the_plain_loop(small, name, initialisation, factor):
    settings = Settings(iterations=2, real_batch=6, initialisation=initialisation, factor=factor)
    method = DistributionMatching(name, settings, small, 2, CPU, DOUBLE)
    state = method.start(Streams("cell"))
    before = state.images.clone()
    losses = [float(method.step(state)["loss"]) for _ in range(2)]
    images, expected = reference.condense(
        small, 2, settings, Streams("cell"), network=name, iterations=2, dtype=DOUBLE
    )
    torch.testing.assert_close(method.result(state).images, images, rtol=0, atol=1e-9)
    assert losses == pytest.approx([loss / 3 for loss in expected], abs=1e-9)
    assert (state.images - before).abs().max() > 1e-4


def test_networks_without_features_are_refused(small, monkeypatch):
    monkeypatch.setattr(names.Spec, "features", False)
    with pytest.raises(InputError, match="method 'dm': network 'ConvNet' has no layers that learn"):
        Grid({**CONFIG, "methods": ["dm", "whole"]})
    with pytest.raises(InputError, match="network 'MLP' has no layers that learn before the last"):
        DistributionMatching("MLP", Settings(), small, 1, CPU)
    monkeypatch.undo()
    assert names.parse("MLP").features
    assert not names.Spec("Bare", names.Architecture(()), names.Options()).features


def test_memory_is_bounded_but_for_batchnorm():
    settings = Settings(real_batch=10)
    assert peak_bytes(settings, 1000, 10, 10, 1) == 2700 * 100
    assert peak_bytes(settings, 1000, 10, 10, 50) == 2700 * 500
    assert peak_bytes(Settings(), 10**7, 10, 200, 50) <= 2**29
    assert batchnorm_bytes(settings, 1000, 10, 10, 1) == 750 * 100
    assert batchnorm_bytes(settings, 1000, 10, 10, 50) == 2700 * 500


def test_the_authors_settings_by_data_set():
    made = Grid({**CONFIG, "images_per_class": [1, 100]})

    def told(dataset, ipc):
        return made.condensation(Cell(dataset, "dm", "ConvNet", ipc, 0))

    assert [told("CIFAR10", ipc)["lr_img"] for ipc in ("1", "100")] == [1, 10]
    assert told("SVHN", "100")["lr_img"] == 1
    for dataset, flipped in (("MNIST", 0), ("SVHN", 0), ("FashionMNIST", 1), ("CIFAR10", 1)):
        assert ("flip" in told(dataset, "1")["augmentation"]) == flipped
        assert len(told(dataset, "1")["augmentation"]) == 5 + flipped
