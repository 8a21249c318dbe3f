"""Names, sizes, parameter counts and training of every network."""

import logging

import pytest
import torch
from torch import nn
from torch.nn import functional

from dclib.errors import InputError
from dclib.networks import plans as networks

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


def test_every_network_has_its_count():
    assert set(PARAMETERS) == set(networks.NAMES)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_and_output_shapes(name, which):
    channels, size = SIZES[which]
    network = networks.build(name, channels, size, 10)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name][which]
    assert network(torch.randn(2, channels, *size)).shape == (2, 10)
    assert network.features(torch.randn(2, channels, *size)).ndim == 2


@pytest.mark.parametrize("name", [*PARAMETERS, *VARIANTS])
@pytest.mark.parametrize(("channels", "size"), SIZES)
def test_trains(name, channels, size):
    """A few steps on a handful of images bring the loss down."""
    torch.manual_seed(0)
    network = networks.build(name, channels, size, 2)
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


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("LeNet", 16), ("AlexNet", 16), ("VGG11", 32), ("VGG11BN", 32), ("ResNet18", 25),
     ("ResNet18BN", 25), ("ResNet18_AP", 16), ("ResNet18BN_AP", 16), ("ConvNet-depth4", 16)],
)  # fmt: skip
def test_too_small_images_are_refused_with_the_smallest_size(name, smallest):
    with pytest.raises(InputError, match="images of 8x8 are too small") as raised:
        networks.build(name, 1, (8, 8), 10)
    assert f"the smallest that it takes are {smallest}x{smallest}" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert networks.build(name, 1, (smallest, smallest), 10)(
        torch.randn(2, 1, smallest, smallest)
    ).shape == (2, 10)


def test_depth_follows_from_the_image_size():
    def convolutions(name, size):
        network = networks.build(name, 1, (size, size), 10)
        return sum(isinstance(module, nn.Conv2d) for module in network.modules())

    assert [convolutions("ConvNet", s) for s in (4, 8, 16, 28, 32, 64)] == [1, 2, 3, 3, 3, 3]
    assert convolutions("ConvNet-depth4", 32) == 4


def test_a_network_too_deep_for_its_images_warns(caplog):
    networks.flat_width.cache_clear()
    with caplog.at_level(logging.WARNING):
        networks.build("ConvNet-depth3", 1, (8, 8), 10)
    assert "maps of 2x2" in caplog.text
    assert "depth 2 suits" in caplog.text
    caplog.clear()
    networks.build("ConvNet", 1, (8, 8), 10)
    networks.build("ConvNet", 3, (32, 32), 10)
    assert not caplog.text


def test_options_of_a_convnet_are_what_they_say():
    network = networks.build("ConvNet-depth2-width16-swish-groupnorm-maxpool", 3, (32, 32), 10)
    kinds = [type(module) for module in network.features]
    block = [nn.Conv2d, nn.GroupNorm, nn.SiLU, nn.MaxPool2d]
    assert issubclass(kinds[0], nn.Conv2d)
    assert kinds[1:] == [*block[1:], *block, nn.Flatten]
    assert network.features[1].num_groups == 4
    assert network.features[0].out_channels == 16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ConvNet-widht64", "'widht64' is not one of depth1..4"),
        ("ConvNet-depth5", "'depth5' is not one of"),
        ("convnet", "did you mean 'ConvNet'"),
        ("ResNet18APBN", "did you mean 'ResNet18"),
        ("ConvNet-width6-groupnorm", "not a multiple"),
        ("ConvNet-relu-sigmoid", "contradict"),
        ("ConvNet-depth1-depth2", "contradict"),
    ],
)
def test_unknown_names_get_one_line(name, message):
    with pytest.raises(InputError) as raised:
        networks.build(name, 1, (28, 28), 10)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", [(32, 32), (6, 10), (7, 8), (5, 5)])
def test_the_pool_is_average_pooling_to_the_second_derivative(size):
    maps = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    pool = networks.Pool()
    expected = functional.avg_pool2d(maps, 2)
    torch.testing.assert_close(pool(maps), expected, rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(pool, maps)
    assert torch.autograd.gradgradcheck(pool, maps)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_convolution_in_bfloat16_is_a_convolution(channels):
    torch.manual_seed(0)
    layer = networks.FirstConv(channels, 8, 3, padding=3)
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


def test_logits_are_float32_whatever_autocast_says():
    network = networks.build("ConvNet-width8", 1, (28, 28), 10)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.randn(2, 1, 28, 28)).dtype == torch.float32
