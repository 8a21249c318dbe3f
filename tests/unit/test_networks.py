"""Names, sizes, parameter counts and training of every network."""

import logging
import re
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from examples.insertion import with_network
from torch import nn
from torch.nn import functional

from dclib import memory
from dclib.errors import InputError
from dclib.networks import layers, names, norms, plans

# Counted by hand from the layers in the papers: 1x28x28, then 3x32x32.
PARAMETERS = {
    "ConvNet": (317_706, 320_010),
    "MLP": (784 * 128 + 128 + 128 * 129 + 1290, 3072 * 128 + 128 + 128 * 129 + 1290),
    "LeNet": (61_706, 62_006),
    "AlexNet": (1_865_802, 1_872_202),
    "AlexCifarNet": (1_384_586, 1_756_426),
    "VGG11": (9_229_962, 9_231_114),
    "VGG11BN": (9_229_962, 9_231_114),
    "ResNet18": (11_172_810, 11_173_962),
    "ResNet18BN": (11_172_810, 11_173_962),
    # No final pooling: 512*3*3 or 512*4*4 values instead of 512 go into the last layer.
    "ResNet18_AP": (11_172_810 + 10 * 512 * 8, 11_173_962 + 10 * 512 * 15),
    "ResNet18BN_AP": (11_172_810 + 10 * 512 * 8, 11_173_962 + 10 * 512 * 15),
}
SIZES = [(1, (28, 28)), (3, (32, 32))]
VARIANTS = [
    f"ConvNet-{option}"
    for option in (
        *(f"depth{n}" for n in (1, 2, 3, 4)), *(f"width{n}" for n in (32, 64, 256)),
        "sigmoid", "leakyrelu", "swish", "nonorm", "batchnorm", "layernorm", "groupnorm",
        "nopool", "maxpool",
    )
]  # fmt: skip
MIXED = [
    "ConvNet-depth2-width16-swish-groupnorm-maxpool",
    "ConvNet-width8-nopool-layernorm-depth1",
    "ConvNet-width8-sigmoid-batchnorm-maxpool",
]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_and_output_shapes(name, which):
    channels, size = SIZES[which]
    network = plans.build(name, channels, size, 10)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name][which]
    assert names.parse(name).parameters(channels, size, 10) == PARAMETERS[name][which]
    assert network(torch.randn(2, channels, *size)).shape == (2, 10)
    assert network.features(torch.randn(2, channels, *size)).ndim == 2


@pytest.mark.parametrize("name", [*names.NAMES, *VARIANTS])
@pytest.mark.parametrize(("channels", "size"), SIZES)
def test_trains(name, channels, size):
    """A few steps on a handful of images bring the loss down."""
    torch.manual_seed(0)
    network = plans.build(name, channels, size, 2)
    images = torch.randn(4, channels, *size)
    labels = torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001)
    losses = []
    for _ in range(4):
        loss = functional.cross_entropy(network(images), labels)
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", [*names.NAMES, *VARIANTS, *MIXED])
def test_weights_are_drawn_layer_by_layer_as_pytorch_draws_them(name):
    """The same seed gives the same network as ever: nothing else is drawn, in no other order."""
    torch.manual_seed(0)
    network = plans.build(name, 3, (32, 32), 10)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            inputs, bias = layer.in_channels, layer.bias is not None
            fresh = nn.Conv2d(inputs, layer.out_channels, layer.kernel_size, bias=bias)
        elif isinstance(layer, nn.Linear):
            fresh = nn.Linear(layer.in_features, layer.out_features)
        else:
            continue
        for parameter, expected in zip(layer.parameters(), fresh.parameters(), strict=True):
            assert torch.equal(parameter, expected)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.parametrize("name", [*names.NAMES, *VARIANTS, *MIXED])
def test_what_a_name_tells_is_what_the_network_has(name):
    spec, fitting = names.parse(name), 0
    for size in [(8, 8), (8, 12), (28, 28), (32, 32), (36, 33)]:
        if not spec.takes(size):
            continue
        fitting += 1
        for channels in (1, 3):
            with torch.device("meta"):
                network = plans.build(name, channels, size, 7)
            parameters = sum(parameter.numel() for parameter in network.parameters())
            assert spec.parameters(channels, size, 7) == parameters
            kept = memory.measured_activation_bytes(network, (channels, *size))
            assert memory.activation_bytes(network, (channels, *size)) == kept
            assert spec.batchnorm == bool(plans.batch_norms(network))
    assert fitting


SMALLEST = {
    "LeNet": 16, "AlexNet": 16, "VGG11": 32, "VGG11BN": 32, "ResNet18": 25, "ResNet18BN": 25,
    "ResNet18_AP": 16, "ResNet18BN_AP": 16, "ConvNet-depth3": 8, "ConvNet-depth4": 16,
    "ConvNet-depth4-batchnorm": 16, "ConvNet-depth4-layernorm-maxpool": 16,
    "ConvNet-depth4-nonorm": 16, "ConvNet-depth4-nopool": 2, "ConvNet-depth4-nopool-nonorm": 1,
    "ConvNet": 2, "ConvNet-depth2": 4, "MLP": 1, "AlexCifarNet": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", SMALLEST)
def test_too_small_images_are_refused_with_the_smallest_size(name):
    spec, smallest = names.parse(name), SMALLEST[name]
    assert spec.smallest_image == smallest
    for size in [(smallest, smallest), (40, smallest), (28, 28)]:
        assert not spec.image_fault("own", size)
        network = plans.build(name, 1, size, 10).eval()
        assert network(torch.randn(2, 1, *size)).isfinite().all()
    if smallest == 1:
        return
    width = smallest - 1
    fault = spec.image_fault("own", (40, width))
    assert f"images of 'own' have {width}x40 pixels" in fault
    with pytest.raises(InputError, match=f"images of 40x{width} are too small") as raised:
        plans.build(name, 1, (40, width), 10)
    for message in (fault, str(raised.value)):
        assert f"the smallest that it takes are {smallest}x{smallest}" in message
        assert ("(and 28x28, which are padded)" in message) == (smallest == 32)
        assert "\n" not in message


def test_depth_follows_from_the_image_size():
    def convolutions(name, size):
        network = plans.build(name, 1, (size, size), 10)
        return sum(isinstance(module, nn.Conv2d) for module in network.modules())

    assert [convolutions("ConvNet", s) for s in (4, 8, 16, 28, 32, 64)] == [1, 2, 3, 3, 3, 3]
    assert convolutions("ConvNet-depth4", 32) == 4


def test_a_network_too_deep_for_its_images_warns(caplog):
    plans._warn.cache_clear()
    with caplog.at_level(logging.WARNING):
        plans.build("ConvNet-depth3", 1, (8, 8), 10)
        plans.build("ConvNet-depth3", 1, (8, 8), 10)
    assert len(caplog.records) == 1
    assert "maps of 2x2" in caplog.text
    assert "depth 2 suits" in caplog.text
    caplog.clear()
    plans.build("ConvNet", 1, (8, 8), 10)
    plans.build("ConvNet", 3, (32, 32), 10)
    assert not caplog.text


def test_options_of_a_convnet_are_what_they_say():
    assert names.parse(MIXED[0]).options == (2, 16, "swish", "groupnorm", "maxpool")
    network = plans.build(MIXED[0], 3, (32, 32), 10)
    kinds = [type(module) for module in network.features]
    block = [layers.Conv, norms.GroupNorm, nn.SiLU, nn.MaxPool2d]
    assert kinds[0] is layers.FirstConv
    assert kinds[1:] == [*block[1:], *block, nn.Flatten]
    assert network.features[1].num_groups == 4
    assert network.features[0].out_channels == 16


@pytest.mark.parametrize(
    "row",
    [
        ("ConvNet-widht64", "'widht64' is not one of depth1..4, width1..4096, sigmoid"),
        ("ConvNet-instancnorm", "did you mean 'instancenorm'"),
        ("Convnet-width64", "did you mean 'ConvNet'"),
        ("ConvNet-depth5", "'depth5' is not one of"),
        ("ConvNet-width4097", "'width4097' is not one of", "width1..4096"),
        ("ConvNet-width08", "'width08' is not one of"),
        ("ConvNet-", "'' is not one of"),
        ("convnet", "did you mean 'ConvNet'"),
        ("ResNet18APBN", "did you mean 'ResNet18"),
        ("VGG11-width64", "is not one of ConvNet, MLP", "did you mean 'VGG11"),
        ("", "'' is not one of"),
        ("Conv\x1b\nNet", r"'Conv\x1b\nNet' is not one of"),
        ("ConvNet-relu\n", r"option 'relu\n' is not one of"),
        ("ConvNet-width6-groupnorm", "width 6 with groupnorm", "multiples of 4"),
        ("ConvNet-relu-sigmoid", "'relu' and 'sigmoid' contradict each other"),
        ("ConvNet-depth1-width8-depth2", "'depth1' and 'depth2' contradict each other"),
        ("ConvNet-swish-swish", "'swish' and 'swish' contradict each other"),
    ],
)
def test_unknown_names_get_one_line(row):
    name, *messages = row
    for call in (names.parse, lambda name: plans.build(name, 1, (28, 28), 10)):
        with pytest.raises(InputError) as raised:
            call(name)
        assert str(raised.value).isprintable()
        for message in messages:
            assert message in str(raised.value)


def test_the_pattern_is_that_of_the_names():
    def matches(name):
        return re.search(names.PATTERN, name) is not None

    for name in [*names.NAMES, *VARIANTS, *MIXED, "ConvNet-width1", "ConvNet-width4096"]:
        assert names.parse(name).name == name
        assert matches(name)
    numbers = ["depth0", "depth5", "width0", "width01", "width4097", "width12a"]
    for name in ["", "convnet", "ConvNets", "aMLP", "VGG11-depth2", "ConvNet-",
                 *(f"ConvNet-{number}" for number in numbers)]:  # fmt: skip
        assert not matches(name)
    for width in (*range(5000), 10000, 40960):
        assert matches(f"ConvNet-width{width}") == (1 <= width <= 4096)


def test_twins():
    twins = {name: names.parse(name).twin for name in [*names.NAMES, "ConvNet-batchnorm"]}
    changed = {"VGG11BN": "VGG11", "ResNet18BN": "ResNet18", "ResNet18BN_AP": "ResNet18"}
    assert {name: twin for name, twin in twins.items() if name != twin} == changed


def test_names_need_no_pytorch():
    script = (
        "import sys; from dclib.networks import names; s = names.parse('ResNet18BN'); "
        "s.activation_bytes(3, (32, 32)), s.smallest_image; "
        "assert not {'torch', 'numpy', 'pandas'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_a_network_of_ones_own_is_one_entry(tmp_path):
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "dclib/networks", tmp_path / "dclib/networks", ignore=ignore)
    for file in (ROOT / "dclib").glob("*.py"):
        shutil.copy(file, tmp_path / "dclib")
    path = tmp_path / "dclib/networks/names.py"
    path.write_text(with_network(path.read_text()))
    script = """
import re, torch
from dclib import memory
from dclib.networks import names, plans
assert names.NAMES[-1] == "TinyNet" and re.search(names.PATTERN, "TinyNet")
spec = names.parse("TinyNet")
assert (spec.smallest_image, spec.batchnorm, spec.twin) == (4, False, "TinyNet")
network = plans.build("TinyNet", 1, (8, 8), 10)
assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)
assert spec.parameters(1, (8, 8), 10) == sum(p.numel() for p in network.parameters())
assert spec.activation_bytes(1, (8, 8)) == memory.measured_activation_bytes(network, (1, 8, 8))
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)


@pytest.mark.parametrize("size", [(12, 12), (6, 10), (7, 8), (5, 5)])
def test_the_pool_is_average_pooling_to_the_second_derivative(size):
    maps = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    pool = layers.Pool()
    expected = functional.avg_pool2d(maps, 2)
    torch.testing.assert_close(pool(maps), expected, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(pool, maps)
    assert torch.autograd.gradgradcheck(pool, maps)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_convolution_in_bfloat16_is_a_convolution(channels):
    torch.manual_seed(0)
    layer = layers.FirstConv(channels, 8, 3, padding=3)
    plain = nn.Conv2d(channels, 8, 3, padding=3)
    plain.load_state_dict(layer.state_dict())
    images = torch.randn(4, channels, 28, 28)
    torch.testing.assert_close(layer(images), plain(images), rtol=0, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        maps = layer(images)
    assert maps.dtype == torch.bfloat16
    upstream = torch.randn(maps.shape)
    expected = torch.autograd.grad(plain(images), list(plain.parameters()), upstream)
    results = torch.autograd.grad(maps.float(), list(layer.parameters()), upstream)
    torch.testing.assert_close(maps.float(), plain(images), rtol=0.02, atol=0.02)
    for result, exact in zip(results, expected, strict=True):
        assert (result - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize(("kind", "channels"), [(layers.FirstConv, 3), (layers.Conv, 32)])
def test_a_convolution_takes_an_image_without_a_batch(kind, channels, bfloat16):
    layer, image = kind(channels, 16, 3, padding=1), torch.randn(channels, 5, 7)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        (expected,) = layer(image[None]).float()
        found = layer(image).float()
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


def test_logits_are_float32_whatever_autocast_says():
    network = plans.build("ConvNet-width8", 1, (28, 28), 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(2, 1, 28, 28)).dtype == torch.float32


@pytest.mark.parametrize("groups", [6, 2])
def test_norms_that_are_not_learnt_are_differentiated_twice_as_pytorchs_are(groups):
    torch.manual_seed(0)
    ours = norms.GroupNorm(groups, 6).double()
    torch.nn.init.normal_(ours.weight)
    torch.nn.init.normal_(ours.bias)
    theirs = torch.nn.GroupNorm(groups, 6).double()
    theirs.load_state_dict(ours.state_dict())
    ours.requires_grad_(False)
    results = []
    for norm in (ours, theirs):
        maps = torch.randn(
            4, 6, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
        ).requires_grad_()
        first = torch.autograd.grad(norm(maps).sin().sum(), maps, create_graph=True)[0]
        second = torch.autograd.grad(first.exp().sum(), maps)[0]
        results.append((first.detach(), second))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)
    maps.requires_grad_()
    assert torch.autograd.gradcheck(ours, maps)
    assert torch.autograd.gradgradcheck(ours, maps)


@pytest.mark.parametrize(("kernel", "size", "n"), [(3, 7, 9), (5, 8, 1), (1, 4, 33)])
def test_a_convolution_is_one_to_the_second_derivative_in_whatever_order(kernel, size, n):
    # On a processor with AVX-512 it takes the kernels for channels that come last.
    torch.manual_seed(0)
    layer = layers.Conv(32, 48, kernel, padding=kernel // 2)
    plain = nn.Conv2d(32, 48, kernel, padding=kernel // 2).double()
    plain.load_state_dict(layer.state_dict())
    maps, along = torch.randn(n, 32, size, size), torch.randn(n, 48, size, size)

    def found(module, kind):
        given = maps.to(kind, copy=True).requires_grad_()
        made = module(given)
        assert made.is_contiguous()
        grown = torch.tanh(made) * along.to(kind)
        first = torch.autograd.grad(grown.sum(), [given, *module.parameters()], create_graph=True)
        assert first[0].is_contiguous()
        length = sum(each.square().sum() for each in first)
        return [made, *first, *torch.autograd.grad(length, [given, *module.parameters()])]

    for one, other in zip(found(layer, torch.float32), found(plain, torch.float64), strict=True):
        scale = other.abs().max().item()
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5 * scale)
    gradient = torch.randn(n, 48, size, size)
    own = layers.own_gradient(layer, "weight", maps, gradient)
    of_plain = layers.own_gradient(plain, "weight", maps.double(), gradient.double())
    torch.testing.assert_close(own.double(), of_plain, rtol=1e-4, atol=1e-3)
