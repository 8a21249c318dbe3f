"""Siamese augmentation in gradient matching, against the plain loop, image by image."""

import pytest
import torch
from reference import gradient_matching as reference
from torch.nn.functional import grid_sample

from dclib import methods
from dclib.data.checks import Facts
from dclib.data.datasets import ImageDataset
from dclib.errors import InputError
from dclib.methods.dc import settings as dc
from dclib.methods.dsa.method import create
from dclib.methods.dsa.settings import FACE, Settings
from dclib.methods.siamese import Siamese
from dclib.networks import names
from dclib.pipeline.grid import Grid
from dclib.pipeline.paths import Cell
from dclib.seeding import Streams
from dclib.training.augmentation import dsa
from dclib.training.kinds import KINDS

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


@pytest.mark.parametrize("engine", ["by_class", "batched"])
@pytest.mark.parametrize(
    ("network", "factor"),
    [("ConvNet-width8", 1), ("ConvNet-width8", 2), ("MLP", 2), ("ConvNet-width8-batchnorm", 1)],
)
def test_two_whole_iterations_agree_with_the_plain_loop(tiny, network, factor, engine):
    settings = Settings(
        iterations=2, outer_steps=3, inner_epochs=2, real_batch=4, batchnorm_batch=4, batch_net=4,
        factor=factor, engine=engine, lr_img=1.0,
    )  # fmt: skip
    method = create(network, settings, tiny, 2, CPU, DOUBLE)
    state = method.start(Streams("cell"))
    before = state.images.clone()
    losses = [float(method.step(state)["loss"]) for _ in range(2)]
    images, outer_losses = reference.condense(
        tiny, 2, settings, Streams("cell"),
        network=network, iterations=2, outer=3, inner=2, dtype=DOUBLE,
    )  # fmt: skip
    torch.testing.assert_close(state.images, images, rtol=0, atol=1e-9)
    mean = torch.tensor(outer_losses, dtype=DOUBLE).view(2, 3).mean(1) / 3
    torch.testing.assert_close(torch.tensor(losses, dtype=DOUBLE), mean, rtol=0, atol=1e-9)
    assert (state.images - before).abs().max() > 1e-4
    made = method.result(state)
    assert (made.factor, len(made.decoded().images)) == (factor, 6 * factor**2)


@pytest.mark.parametrize("change", [dsa._scale, dsa._rotate])
def test_a_gpu_samples_as_a_cpu_does(change, monkeypatch):
    """By kernels with one way back, which a CPU can compute as well; to rounding."""
    torch.manual_seed(0)
    images = torch.randn(5, 3, 9, 7, dtype=DOUBLE, requires_grad=True)
    numbers = torch.rand(5, dsa.NUMBERS, dtype=DOUBLE)
    seen = []
    monkeypatch.setattr(
        dsa.functional, "grid_sample", lambda *a, **k: seen.append(a) or grid_sample(*a, **k)
    )
    expected = change(images, numbers)
    ((_, grid),) = seen
    found = dsa.sampled(images, grid)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(expected)
    own, other = (
        torch.autograd.grad((each * weights).sum(), images)[0] for each in (found, expected)
    )
    torch.testing.assert_close(own, other, rtol=0, atol=1e-12)
    steps, names = [found.grad_fn], set()
    while steps:
        step = steps.pop()
        names.add(step.name())
        steps += [before for before, _ in step.next_functions if before]
    assert "GatherBackward0" in names
    assert not any("Sampler" in name for name in names)


def test_all_images_of_a_class_are_changed_alike_and_other_classes_otherwise():
    """Changes that are alike commute with differences; only contrast and brightness add."""
    siamese = Siamese(KINDS["dsa"], 4, CPU, dsa)
    siamese.draw(torch.Generator().manual_seed(5))
    random = torch.Generator().manual_seed(1)
    real = list(torch.randn(4, 3, 1, 8, 8, generator=random, dtype=DOUBLE))
    synthetic = [torch.cat((own[:1], own[1:2])) for own in real]
    both = zip(siamese(real), siamese(synthetic), strict=True)
    assert all(torch.equal(one[:2], other) for one, other in both)
    # The same image in every class comes out differently.
    same = siamese([real[0]] * 4)
    assert len({tuple(one.flatten().tolist()) for one in same}) == 4
    # One class alone, by its place.
    assert torch.equal(siamese([real[2]], first=2)[0], siamese(real)[2])
    assert Siamese((), 4, CPU, dsa)(real)[0] is real[0]


def test_it_is_dc_where_nothing_differs(tiny):
    """With dc's own settings the same bytes come out, draws of augmentation or not."""
    plain = dc.Settings(iterations=1, outer_steps=2, inner_epochs=1, real_batch=4)
    own = Settings(
        iterations=1, outer_steps=2, inner_epochs=1, real_batch=4, initialisation="noise",
        augmentation=(),
    )  # fmt: skip
    results = []
    for settings in (plain, own):
        method = create("MLP", settings, tiny, 1, CPU)
        state = method.start(Streams("cell"))
        method.step(state)
        results.append(state.images)
    assert torch.equal(*results)
    assert FACE.protocol == "dsa"
    assert Settings().initialisation == "real"
    assert set(Settings().augmentation) == set(KINDS["dsa"])


def test_the_loops_of_the_authors_larger_set():
    config = {"datasets": ["CIFAR10", "SVHN"], "images_per_class": [50, 100], "methods": ["dsa"],
              "networks": ["ConvNet"], "seeds": [0]}  # fmt: skip
    grid = Grid(config, None)
    for point, loops in (
        (("CIFAR10", "100"), (100, 2)), (("CIFAR10", "50"), (50, 10)), (("SVHN", "100"), (100, 5)),
    ):  # fmt: skip
        told = Settings(**grid.condensation(Cell(point[0], "dsa", "ConvNet", point[1], 0)))
        assert told.loops(int(point[1])) == loops


def test_digits_are_not_flipped_unless_it_is_said():
    config = {
        "datasets": ["MNIST", "CIFAR10", {"name": "mine", "source": "digits"}],
        "images_per_class": [1], "methods": ["dsa", "dsa-flipped"], "networks": ["ConvNet"],
        "seeds": [0], "condensation": {"dsa-flipped": {"augmentation": ["flip"]}},
    }  # fmt: skip
    grid = Grid(config, None)

    def kinds(dataset, method="dsa"):
        return grid.condensation(Cell(dataset, method, "ConvNet", "1", 0))["augmentation"]

    assert kinds("MNIST") == kinds("mine") == ["color", "crop", "cutout", "scale", "rotate"]
    assert set(kinds("CIFAR10")) == set(KINDS["dsa"])
    assert kinds("MNIST", "dsa-flipped") == ["flip"]
    wished = Grid({**config, "condensation": {"dsa": {"augmentation": ["flip", "crop"]},
                                              "dsa-flipped": {}}})  # fmt: skip
    assert wished.condensation(Cell("MNIST", "dsa", "ConvNet", "1", 0))["augmentation"] == [
        "flip", "crop",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["dc", "dsa"])
def test_what_leaves_no_image_is_refused_at_planning_and_by_the_method(tiny, method):
    face, spec = methods.face(method), names.parse("MLP")
    facts = Facts(3, (8, 8), 12)
    settings = face.settings(factor=2, initialisation="real")
    assert face.fault(settings, spec, 3, "tiny", facts) == ""
    assert "begin as 16 real ones, but the smallest class of 'tiny' has 12" in face.fault(
        settings, spec, 4, "tiny", facts
    )
    settings = face.settings(factor=5, initialisation="noise")
    said = "factor 5 leaves no image in those of 'tiny', of 8x8 pixels; allowed are 1, 2, 3, 4"
    assert said in face.fault(settings, spec, 4, "tiny", facts)
    with pytest.raises(InputError, match=said):
        create("MLP", settings, tiny, 1, CPU)
