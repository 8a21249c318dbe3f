"""The networks by name: what each is made of, and all that follows from that; it needs no PyTorch.

A name is one of `NETWORKS`, and `ConvNet` may be followed by options in any order: `-depthN` (1 to
4), `-widthN`, an activation (`-sigmoid -relu -leakyrelu -swish`), a norm (`-nonorm -batchnorm
-layernorm -instancenorm -groupnorm`) and a pooling (`-nopool -maxpool -avgpool`), as in
`ConvNet-width64-batchnorm`. Plain `ConvNet` is the paper's: width 128, ReLU, instance norm, average
pooling, and depth 3 (2 where images are too small for 3).

A network is one entry: its layers as data (`dclib.networks.parts`). `dclib.networks.plans` makes
modules of them; sizes, parameters and the memory that a forward pass keeps are worked out here.
"""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from dclib.errors import InputError, did_you_mean
from dclib.networks.parts import (
    GROUPS,
    RELU,
    Act,
    Activation,
    AvgPool,
    Conv,
    Flatten,
    Layers,
    Linear,
    Maps,
    MaxPool,
    Norm,
    Normalisation,
    Pass,
    Residual,
    ResponseNorm,
    Size,
    Tally,
    through,
)

Pooling = Literal["nopool", "maxpool", "avgpool"]

_PADDED = (28, 28)


class Options(NamedTuple):
    """What the name of a ConvNet says of it."""

    depth: int | None = None  # as many blocks as the images are large enough for
    width: int = 128
    activation: Activation = "relu"
    norm: Normalisation = "instancenorm"
    pooling: Pooling = "avgpool"


_WORDS = {
    kind: get_args(words)
    for kind, words in (("activation", Activation), ("norm", Normalisation), ("pooling", Pooling))
}
# How each of them is written, and what is said of that where it is not.
_OPTIONS = {
    "depth": "depth[1-4]",
    "width": "width([1-9][0-9]{0,2}|[123][0-9]{3}|40[0-8][0-9]|409[0-6])",
    **{kind: "|".join(words) for kind, words in _WORDS.items()},
}
_ALLOWED = ["depth1..4", "width1..4096", *itertools.chain(*_WORDS.values())]


@dataclass(frozen=True)
class Architecture:
    """An entry of `NETWORKS`.

    Args:
        layers: all up to the first fully connected one; or what makes them of the options in the
            name and the size of the images.
        hidden: widths of the fully connected layers before the last.
        padded: images of 28x28 are padded to 32x32. The authors pad grey images so, and theirs are
            28x28; here the size decides, not the colour.
        smallest: the smallest images that it shall take, where the layers alone would not refuse.
        twin: what 'the same network' means in evaluation, if not this one.
    """

    layers: Layers | Callable[[Options, Size], Layers]
    hidden: tuple[int, ...] = ()
    padded: bool = False
    smallest: int = 1
    twin: str = ""


def _depth(image_size: Size) -> int:
    """The paper's depth of 3, or as many blocks as leave the last norm maps of at least 4x4."""
    return max(1, min(3, min(image_size).bit_length() - 2))


def _convnet(options: Options, image_size: Size) -> Layers:
    pool = {"nopool": Pass(), "maxpool": MaxPool(), "avgpool": AvgPool(fast=True)}[options.pooling]
    rest = (Norm(options.norm), Act(options.activation), pool)
    layers: Layers = (Conv(options.width, first=True), *rest)
    for _ in range((options.depth or _depth(image_size)) - 1):
        layers += (Conv(options.width), *rest)
    return layers


def _vgg11(norm: Normalisation) -> Layers:
    layers: Layers = ()
    for width in (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M"):
        layers += (MaxPool(),) if isinstance(width, str) else (Conv(width), Norm(norm), RELU)
    return layers


def _resnet18(norm: Normalisation, pooled: bool = False) -> Layers:
    """`pooled` halves maps by average pooling instead of by the strides of convolutions."""

    def conv(width: int, stride: int = 1) -> Conv:
        return Conv(width, stride=stride, bias=False)

    layers: Layers = (conv(64), Norm(norm), RELU)
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        step, pool = (1, AvgPool()) if pooled and stride > 1 else (stride, Pass())
        end = (conv(width), Norm(norm))
        shortcut = (Conv(width, 1, 0, step, bias=False), pool, Norm(norm)) if stride > 1 else ()
        layers += (Residual((conv(width, step), Norm(norm), RELU, pool, *end), shortcut),)
        layers += (Residual((conv(width), Norm(norm), RELU, Pass(), *end)),)
    return layers if pooled else (*layers, AvgPool(4))


_RESPONSE_NORM = ResponseNorm(4, alpha=0.001 / 9, beta=0.75)

NETWORKS: dict[str, Architecture] = {
    "ConvNet": Architecture(_convnet, padded=True),
    "MLP": Architecture((), hidden=(128, 128)),
    "LeNet": Architecture(
        (Conv(6, 5, 0), RELU, MaxPool(), Conv(16, 5, 0), RELU, MaxPool()),
        hidden=(120, 84),
        padded=True,
    ),
    "AlexNet": Architecture(
        (
            Conv(128, 5, 2), RELU, MaxPool(), Conv(192, 5, 2), RELU, MaxPool(),
            Conv(256), RELU, Conv(192), RELU, Conv(192), RELU, MaxPool(),
        ),
        padded=True,
        smallest=16,  # so that the last three convolutions see maps of 4x4
    ),
    # The CIFAR10 network of Wang et al., Dataset Distillation (2018).
    "AlexCifarNet": Architecture(
        (
            Conv(64, 5, 2), RELU, MaxPool(3, 2, 1), _RESPONSE_NORM,
            Conv(64, 5, 2), RELU, _RESPONSE_NORM, MaxPool(3, 2, 1),
        ),
        hidden=(384, 192),
    ),
    "VGG11": Architecture(_vgg11("instancenorm"), padded=True),
    # A set is too small to estimate BatchNorm's statistics, so that a VGG or ResNet with BatchNorm
    # is replaced by its instance-norm twin.
    "VGG11BN": Architecture(_vgg11("batchnorm"), padded=True, twin="VGG11"),
    "ResNet18": Architecture(_resnet18("instancenorm")),
    "ResNet18BN": Architecture(_resnet18("batchnorm"), twin="ResNet18"),
    "ResNet18_AP": Architecture(_resnet18("instancenorm", pooled=True)),
    "ResNet18BN_AP": Architecture(_resnet18("batchnorm", pooled=True), twin="ResNet18"),
}  # fmt: skip

NAMES = tuple(NETWORKS)
PATTERN = "^({})$".format(
    "|".join(
        f"{name}(-({'|'.join(_OPTIONS.values())}))*" if callable(network.layers) else name
        for name, network in NETWORKS.items()
    )
)


@dataclass(frozen=True)
class Spec:
    """A network as its name describes it: see `parse`.

    Args:
        options: what the name of a ConvNet says; they mean nothing to the others.
    """

    name: str
    architecture: Architecture
    options: Options

    @property
    def twin(self) -> str:
        """The network that 'the same network' means in evaluation."""
        return self.architecture.twin or self.name

    @functools.cached_property
    def smallest_image(self) -> int:
        """Height and width of the smallest images that it takes, those of 28x28 apart."""
        sizes = itertools.count(1)
        return next(s for s in sizes if self.takes((s, s)) and self.takes((s + 1, s + 1)))

    @functools.cached_property
    def batchnorm(self) -> bool:
        """Whether it has BatchNorm."""
        return self._tally(1, (self.smallest_image,) * 2).batchnorm

    @property
    def features(self) -> bool:
        """Whether it has layers that learn before the last one."""
        return bool(self.architecture.layers or self.architecture.hidden)

    def layers(self, image_size: Size) -> Layers:
        """Return all layers but the last, for images of this size."""
        layers = self.architecture.layers
        if callable(layers):
            layers = layers(self.options, image_size)
        if self.architecture.padded and image_size == _PADDED:
            first, *rest = layers
            assert isinstance(first, Conv)
            layers = (dataclasses.replace(first, padding=first.padding + 2), *rest)
        hidden = itertools.chain(*((Linear(width), RELU) for width in self.architecture.hidden))
        return (*layers, Flatten(), *hidden)

    def takes(self, image_size: Size) -> bool:
        """Return whether images of this size are large enough."""
        if min(image_size) < self.architecture.smallest:
            return False
        tally = self._tally(1, image_size)
        return tally.fits and tally.normed >= 2  # a single pixel less its own mean is always zero

    def check(self, image_size: Size) -> None:
        """Refuse images that are too small.

        Raises:
            InputError: naming the smallest.
        """
        if not self.takes(image_size):
            raise InputError(
                f"network '{self.name}': images of {image_size[0]}x{image_size[1]} are too small "
                f"for it, {self._smallest()}"
            )

    def image_fault(self, dataset: str, size: Size) -> str:
        """Return that images of `dataset` are too small, or an empty string."""
        if self.takes(size):
            return ""
        return (
            f"network '{self.name}': images of '{dataset}' have {size[1]}x{size[0]} pixels, "
            f"{self._smallest()}; give the data set an image_size"
        )

    def caution(self, image_size: Size) -> str:
        """Return that a ConvNet is deeper than suits images of this size, or an empty string."""
        side = self._tally(1, image_size).normed
        if side >= 4 or not callable(self.architecture.layers):
            return ""
        return (
            f"its last norm sees maps of {side}x{side}, and matching learns next to nothing there; "
            f"depth {_depth(image_size)} suits these images"
        )

    def activation_bytes(self, channels: int, image_size: Size) -> int:
        """Return the bytes that one image's forward pass keeps for its backward pass, in float32.

        `dclib.memory.measured_activation_bytes` finds the same by running the network.
        """
        return self._tally(channels, image_size).kept

    def parameters(self, channels: int, image_size: Size, num_classes: int) -> int:
        """Return how many weights the network has."""
        return self._tally(channels, image_size, num_classes).parameters

    def _smallest(self) -> str:
        smallest = f"{self.smallest_image}x{self.smallest_image}"
        padded = self.smallest_image > min(_PADDED) and self.takes(_PADDED)
        also = f" (and {_PADDED[0]}x{_PADDED[1]}, which are padded)" if padded else ""
        return f"the smallest that it takes are {smallest}{also}"

    def _tally(self, channels: int, image_size: Size, num_classes: int = 1) -> Tally:
        return _tally(self.name, channels, image_size, num_classes)


@functools.lru_cache(maxsize=1024)
def parse(name: str) -> Spec:
    """Return what a name says.

    Raises:
        InputError: an unknown name or option, or options that contradict each other.
    """
    base, *words = name.split("-")
    if base not in NETWORKS or (words and not callable(NETWORKS[base].layers)):
        hint = did_you_mean(name, NAMES) or did_you_mean(base, NAMES)
        raise InputError(f"network {name!r} is not one of {', '.join(NAMES)}{hint}")
    chosen: dict[str, str] = {}
    for word in words:
        kind = next((kind for kind in _OPTIONS if re.fullmatch(_OPTIONS[kind], word)), None)
        if kind is None:
            raise InputError(
                f"network {name!r}: option {word!r} is not one of {', '.join(_ALLOWED)}"
                f"{did_you_mean(word, _ALLOWED)}"
            )
        if kind in chosen:
            raise InputError(
                f"network '{name}': '{chosen[kind]}' and '{word}' contradict each other; one of "
                "them is allowed"
            )
        chosen[kind] = word
    values: dict[str, Any] = dict(chosen)
    for kind in values.keys() & {"depth", "width"}:
        values[kind] = int(chosen[kind].removeprefix(kind))
    options = Options(**values)
    if options.norm == "groupnorm" and options.width % GROUPS:
        raise InputError(
            f"network '{name}': width {options.width} with groupnorm, which has {GROUPS} groups; "
            f"allowed are multiples of {GROUPS}"
        )
    return Spec(name, NETWORKS[base], options)


@functools.lru_cache(maxsize=4096)
def _tally(name: str, channels: int, image_size: Size, num_classes: int) -> Tally:
    """What the way of an image through a network, and its last layer, adds up to."""
    tally, layers = Tally(), parse(name).layers(image_size)
    through((*layers, Linear(num_classes)), Maps((channels, *image_size)), tally)
    return tally
