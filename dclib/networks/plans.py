"""The networks of the paper by name, for any image size that they can take.

A name is `MLP`, `LeNet`, `AlexNet`, `AlexCifarNet`, `VGG11`, `VGG11BN`, `ResNet18`, `ResNet18BN`,
`ResNet18_AP`, `ResNet18BN_AP` or `ConvNet`, and `ConvNet` may be followed by options in any order:
`-depthN` (1 to 4), `-widthN`, an activation (`-sigmoid -relu -leakyrelu -swish`), a norm (`-nonorm
-batchnorm -layernorm -instancenorm -groupnorm`) and a pooling (`-nopool -maxpool -avgpool`), as in
`ConvNet-width64-batchnorm`. Plain `ConvNet` is the paper's: width 128, ReLU, instance norm, average
pooling, and depth 3 (2 where images are too small for 3).
"""

import functools
import logging
import re
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from dclib.errors import InputError, did_you_mean

log = logging.getLogger(__name__)

Size = tuple[int, int]
Plan = tuple[nn.Sequential, tuple[int, ...]]  # convolutional body, widths of the hidden layers

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "leakyrelu": lambda: nn.LeakyReLU(0.01),
    "swish": nn.SiLU,
}
_NORMS: dict[str, Callable[[int, Size], nn.Module]] = {
    "nonorm": lambda width, size: nn.Identity(),
    "batchnorm": lambda width, size: nn.BatchNorm2d(width),
    "layernorm": lambda width, size: nn.LayerNorm([width, *size]),
    "instancenorm": lambda width, size: nn.GroupNorm(width, width),
    "groupnorm": lambda width, size: nn.GroupNorm(4, width),
}


class Pool(nn.Module):
    """2x2 average pooling; on a CPU a matrix product, since PyTorch's own loop is much slower."""

    def forward(self, maps: Tensor) -> Tensor:
        height, width = maps.shape[-2:]
        if maps.device.type != "cpu" or height % 2 or width % 2:
            return functional.avg_pool2d(maps, 2)
        pairs = maps.reshape(*maps.shape[:-2], height // 2, 2 * width)
        return pairs @ _means_of_squares(width, maps.dtype)


@functools.lru_cache
def _means_of_squares(width: int, dtype: torch.dtype) -> Float[Tensor, "two_rows half_width"]:
    """Return the matrix that takes two rows, one after the other, to the means of their squares."""
    columns = torch.eye(width // 2, dtype=dtype).repeat_interleave(2, dim=0)
    return columns.repeat(2, 1) / 4


class FirstConv(nn.Conv2d):
    """A convolution of few channels; in bfloat16 on a CPU a matrix product, which is faster."""

    def forward(self, images: Tensor) -> Tensor:
        if images.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(images)
        assert self.bias is not None
        padding, kernel = int(self.padding[0]), self.kernel_size[0]
        patches = functional.unfold(images.bfloat16(), kernel, padding=padding)
        weight = self.weight.flatten(1).expand(len(images), -1, -1)
        bias = self.bias[:, None].expand(len(images), -1, -1)
        maps = torch.baddbmm(bias, weight, patches)
        return maps.unflatten(-1, (images.shape[-2] + 2 * padding - kernel + 1, -1))


_POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "nopool": nn.Identity,
    "maxpool": lambda: nn.MaxPool2d(2),
    "avgpool": Pool,
}


class Network(nn.Module):
    """A classifier in two parts: `features`, all but the last layer, and `classifier`.

    The last layer computes in its weights' precision, whatever autocast says.
    """

    def __init__(self, features: nn.Sequential, classifier: nn.Linear) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits of normalised images."""
        features = self.features(images)
        with torch.autocast("cuda" if images.is_cuda else "cpu", enabled=False):
            return self.classifier(features.to(self.classifier.weight.dtype))


def build(name: str, channels: int, image_size: Size, num_classes: int) -> Network:
    """Return a network with PyTorch's default initialisation, drawn from the global generator.

    Args:
        name: see the module's docstring.
        channels: 1 or 3.
        image_size: height and width in pixels.
        num_classes: number of logits.

    Raises:
        InputError: an unknown name or option, or images that are too small for the network.
    """
    flat = flat_width(name, channels, image_size)
    body, hidden = _plan(name, channels, image_size)
    layers: list[nn.Module] = [*body, nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(flat, width), nn.ReLU()]
        flat = width
    return Network(nn.Sequential(*layers), nn.Linear(flat, num_classes))


def batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    """Return the BatchNorm layers of a network."""
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


@functools.lru_cache(maxsize=256)
def flat_width(name: str, channels: int, image_size: Size) -> int:
    """Return the number of values that the network's convolutional body makes of one image.

    Raises:
        InputError: an unknown name or option, or images that are too small for the network.
    """
    width, warning = _probe(name, channels, image_size)
    if width is None:
        fits = [s for s in range(1, 65) if _probe(name, channels, (s, s))[0] is not None]
        smallest = next(s for s in fits if set(range(s, 65)) <= set(fits))
        padded = " (and 28x28, which are padded)" if 28 in fits and smallest > 28 else ""
        raise InputError(
            f"network '{name}': images of {image_size[0]}x{image_size[1]} are too small for it, "
            f"the smallest that it takes are {smallest}x{smallest}{padded}"
        )
    if warning:
        log.warning("network '%s' on %dx%d images: %s", name, *image_size, warning)
    return width


def _probe(name: str, channels: int, image_size: Size) -> tuple[int | None, str]:
    """Run the body on shapes alone: the width of its output, None if it cannot, and a warning."""
    seen: list[int] = []  # the smaller side of every map that a norm gets

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(min(inputs[0].shape[-2:]))

    if min(image_size) < _SMALLEST.get(name, 1):
        return None, ""
    with torch.device("meta"):
        try:
            body, _ = _plan(name, channels, image_size)
            for module in body.modules():
                if isinstance(module, nn.GroupNorm | nn.BatchNorm2d):
                    module.register_forward_pre_hook(note)
            output = body(torch.empty(2, channels, *image_size))
        except RuntimeError:  # a map has become smaller than a kernel
            return None, ""
    if min(seen, default=4) < 2:  # a single pixel less its own mean is always zero
        return None, ""
    warning = ""
    if min(seen, default=4) < 4 and name.startswith("ConvNet"):
        warning = (
            f"its last norm sees maps of {min(seen)}x{min(seen)}, and matching learns next to "
            f"nothing there; depth {_default_depth(image_size)} suits these images"
        )
    return output.flatten(1).shape[1], warning


def _plan(name: str, channels: int, image_size: Size) -> Plan:
    base, *options = name.split("-")
    if base == "ConvNet":
        return _convnet(name, options, channels, image_size)
    if name not in _PLANS:
        names = ["ConvNet", *_PLANS]
        raise InputError(
            f"network '{name}' is not one of {', '.join(names)}{did_you_mean(name, names)}"
        )
    return _PLANS[name](channels, image_size)


def _padding(image_size: Size, kernel: int) -> int:
    """'Same' padding, and two pixels more for 28x28 images, which become 32x32.

    The authors pad grey images so, and theirs are 28x28; here the size decides, not the colour.
    """
    return kernel // 2 + (2 if image_size == (28, 28) else 0)


def _default_depth(image_size: Size) -> int:
    """The paper's depth of 3, or as many blocks as leave the last norm maps of at least 4x4."""
    return max(1, min(3, min(image_size).bit_length() - 2))


def _convnet(name: str, options: list[str], channels: int, image_size: Size) -> Plan:
    depth, width = _default_depth(image_size), 128
    activation, norm, pooling = "relu", "instancenorm", "avgpool"
    kinds = [re.sub("[0-9]", "", option) for option in options]
    for group in (_ACTIVATIONS, _NORMS, _POOLINGS):
        kinds = [str(sorted(group)) if kind in group else kind for kind in kinds]
    if len(set(kinds)) < len(kinds):
        raise InputError(f"network '{name}': two of its options contradict each other")
    for option in options:
        number = re.fullmatch(r"(depth|width)([1-9][0-9]*)", option)
        if number and number[1] == "depth" and int(number[2]) <= 4:
            depth = int(number[2])
        elif number and number[1] == "width" and int(number[2]) <= 4096:
            width = int(number[2])
        elif option in _ACTIVATIONS:
            activation = option
        elif option in _NORMS:
            norm = option
        elif option in _POOLINGS:
            pooling = option
        else:
            allowed = ["depth1..4", "width1..4096", *_ACTIVATIONS, *_NORMS, *_POOLINGS]
            raise InputError(
                f"network '{name}': option '{option}' is not one of {', '.join(allowed)}"
                f"{did_you_mean(option, allowed)}"
            )
    if norm == "groupnorm" and width % 4:
        raise InputError(
            f"network '{name}': groupnorm has 4 groups, width {width} is not a multiple"
        )
    layers: list[nn.Module] = []
    size = image_size
    for block in range(depth):
        padding = _padding(image_size, 3) if block == 0 else 1
        convolution = FirstConv if block == 0 else nn.Conv2d
        layers.append(convolution(channels if block == 0 else width, width, 3, padding=padding))
        size = (size[0] + 2 * padding - 2, size[1] + 2 * padding - 2)
        layers += [_NORMS[norm](width, size), _ACTIVATIONS[activation](), _POOLINGS[pooling]()]
        if pooling != "nopool":
            size = (size[0] // 2, size[1] // 2)
    return nn.Sequential(*layers), ()


def _mlp(channels: int, image_size: Size) -> Plan:
    return nn.Sequential(), (128, 128)


def _lenet(channels: int, image_size: Size) -> Plan:
    padding = 2 if image_size == (28, 28) else 0
    body = nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip
    return body, (120, 84)


def _alexnet(channels: int, image_size: Size) -> Plan:
    body = nn.Sequential(
        nn.Conv2d(channels, 128, 5, padding=_padding(image_size, 5)), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(128, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(192, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 192, 3, padding=1), nn.ReLU(),
        nn.Conv2d(192, 192, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    )  # fmt: skip
    return body, ()


def _alexcifarnet(channels: int, image_size: Size) -> Plan:
    """The CIFAR10 network of Wang et al., Dataset Distillation (2018)."""

    def response_norm() -> nn.Module:
        return nn.LocalResponseNorm(4, alpha=0.001 / 9, beta=0.75, k=1)

    body = nn.Sequential(
        nn.Conv2d(channels, 64, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1), response_norm(),
        nn.Conv2d(64, 64, 5, padding=2), nn.ReLU(), response_norm(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )  # fmt: skip
    return body, (384, 192)


def _instance_norm(width: int) -> nn.Module:
    return nn.GroupNorm(width, width)


def _vgg11(channels: int, image_size: Size, norm: Callable[[int], nn.Module]) -> Plan:
    layers: list[nn.Module] = []
    width_in, padding = channels, _padding(image_size, 3)
    for item in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        if isinstance(item, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(width_in, item, 3, padding=padding), norm(item), nn.ReLU()]
            width_in, padding = item, 1
    return nn.Sequential(*layers), ()


class _Block(nn.Module):
    """ResNet's basic block; `pooled` strides by average pooling instead of by its convolutions."""

    def __init__(
        self, inputs: int, width: int, stride: int, norm: Callable[[int], nn.Module], pooled: bool
    ) -> None:
        super().__init__()
        step = 1 if pooled else stride
        pool = nn.AvgPool2d(2) if pooled and stride > 1 else nn.Identity()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, width, 3, stride=step, padding=1, bias=False), norm(width), nn.ReLU(),
            pool, nn.Conv2d(width, width, 3, padding=1, bias=False), norm(width),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride=step, bias=False), pool, norm(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.residual(x) + self.shortcut(x))


def _resnet18(
    channels: int, image_size: Size, norm: Callable[[int], nn.Module], pooled: bool = False
) -> Plan:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, 64, 3, padding=1, bias=False), norm(64), nn.ReLU()
    ]  # fmt: skip
    inputs = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers.append(_Block(inputs, width, stride, norm, pooled))
        layers.append(_Block(width, width, 1, norm, pooled))
        inputs = width
    if not pooled:
        layers.append(nn.AvgPool2d(4))
    return nn.Sequential(*layers), ()


_PLANS: dict[str, Callable[[int, Size], Plan]] = {
    "MLP": _mlp,
    "LeNet": _lenet,
    "AlexNet": _alexnet,
    "AlexCifarNet": _alexcifarnet,
    "VGG11": functools.partial(_vgg11, norm=_instance_norm),
    "VGG11BN": functools.partial(_vgg11, norm=nn.BatchNorm2d),
    "ResNet18": functools.partial(_resnet18, norm=_instance_norm),
    "ResNet18BN": functools.partial(_resnet18, norm=nn.BatchNorm2d),
    "ResNet18_AP": functools.partial(_resnet18, norm=_instance_norm, pooled=True),
    "ResNet18BN_AP": functools.partial(_resnet18, norm=nn.BatchNorm2d, pooled=True),
}
# Where the layers alone would not refuse: the last three convolutions shall see maps of 4x4.
_SMALLEST = {"AlexNet": 16}
NAMES = ("ConvNet", *_PLANS)
