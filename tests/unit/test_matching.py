"""The matching against the plain transcription in tests/reference, and against closed forms."""

import copy
import dataclasses

import pytest
import torch
from reference import gradient_matching as reference

from dclib import devices
from dclib.methods import matching
from dclib.methods.dc.method import GradientMatching
from dclib.methods.dc.settings import Settings, peak_bytes, relevant
from dclib.networks import names
from dclib.networks import plans as networks
from dclib.seeding import Streams

DOUBLE = torch.float64
CPU = torch.device("cpu")
NETWORKS = [
    "ConvNet-width8",
    "ConvNet-width8-groupnorm-swish-maxpool",
    "MLP",
    "LeNet",
    "ConvNet-width8-batchnorm",
    "ConvNet-width8-layernorm",
]


def batches(ipc=2, classes=3):
    generator = torch.Generator().manual_seed(1)
    real = [torch.randn(n, 3, 32, 32, generator=generator, dtype=DOUBLE) for n in (40, 17, 33)]
    synthetic = torch.randn(classes, ipc, 3, 32, 32, generator=generator, dtype=DOUBLE)
    return real, synthetic


@pytest.mark.parametrize("engine", ["by_class", "batched"])
@pytest.mark.parametrize("kind", matching.DISTANCES)
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_and_image_gradient_agree_with_the_plain_loop(name, kind, engine):
    real, synthetic = batches()
    torch.manual_seed(2)
    network = networks.build(name, 3, (32, 32), 3).double()
    for layer in networks.batch_norms(network):
        layer.eval()
    loss, gradient = matching.match(network, real, synthetic, kind, engine)
    expected_loss, expected_gradient = reference.match(network, real, synthetic, kind)
    assert loss > 0
    torch.testing.assert_close(loss, expected_loss, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("engine", ["by_class", "batched"])
@pytest.mark.parametrize(
    "name", ["ConvNet-width8", "ConvNet-width8-batchnorm", "ConvNet-width8-layernorm"]
)
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("bf16", 0.2)])
def test_precision_costs_what_it_may(precision, bound, name, engine):
    """Relative to the image gradient in float64; bfloat16 has 8 bits."""
    real, synthetic = batches()
    torch.manual_seed(2)
    network = networks.build(name, 3, (32, 32), 3).eval()
    _, exact = reference.match(copy.deepcopy(network).double(), real, synthetic)
    with devices.precision(CPU, precision):
        _, gradient = matching.match(
            network, [images.float() for images in real], synthetic.float(), engine=engine
        )
    assert gradient.dtype == torch.float32
    assert (gradient - exact).norm() < bound * exact.norm()
    assert (gradient - exact).norm() > 0


def test_unknown_engines_and_distances_are_refused():
    network = networks.build("MLP", 3, (32, 32), 3).double()
    with pytest.raises(ValueError, match="engine 'fast' is not one of auto, by_class, batched"):
        matching.match(network, *batches(), engine="fast")
    with pytest.raises(ValueError, match="distance 'ous' is not one of"):
        matching.match(network, *batches(), kind="ous")


def test_image_gradient_agrees_with_finite_differences():
    real, synthetic = batches(ipc=1)
    torch.manual_seed(3)
    network = networks.build("ConvNet-width4-swish", 3, (32, 32), 3).double()
    _, gradient = matching.match(network, real, synthetic)
    direction = torch.randn(synthetic.shape, dtype=DOUBLE)
    step = 1e-5
    ahead, _ = matching.match(network, real, synthetic + step * direction)
    behind, _ = matching.match(network, real, synthetic - step * direction)
    torch.testing.assert_close(
        (gradient * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("initialisation", ["noise", "real"])
@pytest.mark.parametrize("name", ["ConvNet-width8", "MLP", "LeNet", "ConvNet-width8-batchnorm"])
def test_three_whole_iterations_agree_with_the_plain_loop(small, name, initialisation):
    settings = Settings(
        iterations=3, outer_steps=3, inner_epochs=2, real_batch=15, batchnorm_batch=4,
        initialisation=initialisation, batch_net=4,
    )  # fmt: skip
    method = GradientMatching(name, settings, small, 2, CPU, DOUBLE)
    state = method.start(Streams("cell"))
    losses = [float(method.step(state)["loss"]) for _ in range(3)]
    images, outer_losses = reference.condense(
        small, 2, settings, Streams("cell"),
        network=name, iterations=3, outer=3, inner=2, dtype=DOUBLE,
    )  # fmt: skip
    torch.testing.assert_close(state.images, images, rtol=0, atol=1e-9)
    mean = torch.tensor(outer_losses, dtype=DOUBLE).view(3, 3).mean(1) / small.num_classes
    torch.testing.assert_close(torch.tensor(losses, dtype=DOUBLE), mean, rtol=0, atol=1e-9)
    before = method.start(Streams("cell")).images
    assert (state.images - before).abs().max() > 1e-4  # it has learnt something at all


def test_real_initialisation_is_training_images(small):
    method = GradientMatching("MLP", Settings(initialisation="real"), small, 4, CPU)
    state = method.start(Streams("cell"))
    everything = small.normalise(small.train_images)
    for image, label in zip(state.images, state.labels, strict=True):
        same = (everything == image).flatten(1).all(1).nonzero().flatten()
        assert small.train_labels[same].tolist()[0] == label


def test_distances_of_hand_made_gradients():
    a = [
        torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=DOUBLE),
        torch.ones(2, dtype=DOUBLE),
    ]
    b = [
        torch.tensor([[1.0, 0.0], [3.0, 0.0], [-1.0, -1.0]], dtype=DOUBLE),
        torch.zeros(2, dtype=DOUBLE),
    ]
    # Rows: same direction 0, orthogonal 1, opposite 2; the bias does not count.
    assert float(matching.distance(a, b, "ours")) == pytest.approx(3.0, abs=2e-6)
    assert float(matching.distance(a, b, "mse")) == pytest.approx(0 + 9 + 4 + 4 + 4 + 2)
    cosine = (1 - 2) / (9**0.5 * 12**0.5 + 1e-6)
    assert float(matching.distance(a, b, "cos")) == pytest.approx(1 - cosine)
    with pytest.raises(ValueError, match="'euclid' is not one of ours, mse, cos"):
        matching.distance(a, b, "euclid")


def test_scaling_all_real_images_gradients_leaves_ours_alone():
    generator = torch.Generator().manual_seed(0)
    a = [torch.randn(6, 2, 3, 3, generator=generator, dtype=DOUBLE)]
    b = [torch.randn(6, 2, 3, 3, generator=generator, dtype=DOUBLE)]
    near = matching.distance(a, b)
    torch.testing.assert_close(matching.distance([7 * a[0]], b), near, rtol=1e-6, atol=0)
    torch.testing.assert_close(
        matching.distance(a, a), torch.zeros((), dtype=DOUBLE), rtol=0, atol=1e-5
    )


def test_the_order_of_classes_does_not_matter():
    """Renaming classes, the last layer's rows along with them, renames the image gradients."""
    real, synthetic = batches()
    torch.manual_seed(4)
    network = networks.build("LeNet", 3, (32, 32), 3).double()
    loss, gradient = matching.match(network, real, synthetic)
    order = [2, 0, 1]
    with torch.no_grad():
        network.classifier.weight.copy_(network.classifier.weight[order])
        network.classifier.bias.copy_(network.classifier.bias[order])
    permuted_loss, permuted = matching.match(network, [real[c] for c in order], synthetic[order])
    torch.testing.assert_close(permuted_loss, loss, rtol=0, atol=1e-10)
    torch.testing.assert_close(permuted, gradient[order], rtol=0, atol=1e-10)


def test_matching_leaves_the_network_as_it_is():
    real, synthetic = batches()
    network = networks.build("VGG11BN", 3, (32, 32), 3).double()
    for layer in networks.batch_norms(network):
        layer.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    matching.match(network, real, synthetic)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_loops_are_the_papers_and_continue_its_law():
    assert [Settings().loops(n) for n in (1, 10, 20, 50)] == [(1, 1), (10, 50), (20, 25), (50, 10)]
    assert Settings().loops(15) == (15, 33)
    assert Settings().loops(2000) == (2000, 1)
    assert Settings(outer_steps=3).loops(10) == (3, 50)
    assert Settings(inner_epochs=7).loops(10) == (10, 7)


def test_settings_that_cannot_touch_a_set_are_not_among_the_relevant():
    plain, normed = names.parse("ConvNet"), names.parse("ConvNet-batchnorm")
    every = set(dataclasses.asdict(Settings()))
    assert set(relevant(Settings(), normed, 10)) == every
    assert set(relevant(Settings(), plain, 10)) == every - {"batchnorm_batch"}
    one = relevant(Settings(), normed, 1)
    assert set(one) == every - {"inner_epochs", "lr_net", "batch_net"}
    # What follows from ipc is resolved: written down or not, it is the same.
    assert relevant(Settings(outer_steps=10, inner_epochs=50), plain, 10) == relevant(
        Settings(), plain, 10
    )
    assert relevant(Settings(outer_steps=1), normed, 1) == one


@pytest.mark.parametrize(
    ("name", "outer"), [("ConvNet-width8", 2), ("ConvNet-width8-batchnorm", 1)]
)
def test_irrelevant_settings_change_no_byte(small, name, outer):
    settings = Settings(iterations=1, outer_steps=outer, inner_epochs=2, real_batch=8)
    idle = set(dataclasses.asdict(settings)) - set(relevant(settings, names.parse(name), 1))
    other = {"inner_epochs": 5, "lr_net": 0.5, "batch_net": 2, "batchnorm_batch": 3}
    changed = dataclasses.replace(settings, **{key: other[key] for key in idle})
    assert changed != settings
    results = []
    for one in (settings, changed):
        method = GradientMatching(name, one, small, 1, CPU)
        state = method.start(Streams("cell"))
        method.step(state)
        results.append(method.result(state).images)
    assert torch.equal(*results)


def test_memory_is_that_of_matching_or_of_training():
    settings = Settings(real_batch=10, batch_net=256)
    assert peak_bytes(settings, 1000, 10, 10, 1) == 1000 * (2.7 * 10 * 10 + 8)
    few = Settings(real_batch=1, batch_net=256)
    assert peak_bytes(few, 1000, 10, 100, 10) == int(1000 * 2.7 * 256)
    assert peak_bytes(Settings(real_batch=4096), 10**6, 10, 10, 1) < 2**29 + 10**7


def test_a_class_smaller_than_ipc_is_refused(small):
    with pytest.raises(
        ValueError,
        match="21 images per class begin as 21 real ones, but the smallest class of 'small' has 20",
    ):
        GradientMatching("MLP", Settings(initialisation="real"), small, 21, CPU)
