"""The settings of `dm`, and what planning has to know of it."""

from typing import Any, Literal

from dclib import footprint
from dclib.data.checks import Facts
from dclib.data.published import CHARACTERS
from dclib.fields import Count, Momentum, Precision, Rate, settings
from dclib.methods import Face, formation
from dclib.methods.formation import Formation
from dclib.networks.names import Spec
from dclib.training.kinds import NO_FLIP, Siamese

GROWS = ("iterations",)

WHERE: dict[str, dict[str, Any]] = {
    **{f"dataset={name}": {"augmentation": [*NO_FLIP]} for name in CHARACTERS},
    "dataset=CIFAR10 ipc=100+": {"lr_img": 10.0},
}


@settings
class Settings(Formation):
    """Distribution matching; the defaults are the authors' but for digits."""

    iterations: Count = 20000
    """freshly initialised networks, one step for each"""
    real_batch: Count = 256
    """real images per class in a step"""
    initialisation: Literal["noise", "real"] = "real"
    """what images start as: standard normal noise, or random training images"""
    augmentation: Siamese = ("color", "crop", "cutout", "flip", "scale", "rotate")
    """kinds of DSA's augmentation, of which one is drawn for the real and the synthetic images of a
    class in a step; on digits without flip unless it is said"""
    lr_img: Rate = 1.0
    """learning rate of the images; on CIFAR10 from 100 images per class 10 unless it is said (for
    ResNet18 its authors advise 0.1 or 0.01)"""
    momentum_img: Momentum = 0.5
    """momentum of the images"""
    precision: Precision = "tf32"
    """of convolutions; tf32 means fp32 where there is no GPU that has it; bf16 in bfloat16"""


def peak_bytes(
    settings: Settings, activation_bytes: int, parameters: int, classes: int, ipc: int
) -> int:
    """Return the bytes that a step takes at its peak: images pass in parts that fit."""
    own = ipc * settings.factor**2
    images = min(classes * max(settings.real_batch, own), footprint.passing(activation_bytes))
    return int(footprint.FIRST_ORDER * activation_bytes * images)


def batchnorm_bytes(
    settings: Settings, activation_bytes: int, parameters: int, classes: int, ipc: int
) -> int:
    """Return the same with BatchNorm, which sees the images of all classes at once.

    A pass that nothing goes back through holds two of the largest maps, and not all of them.
    """
    own = ipc * settings.factor**2
    passes = max(0.75 * settings.real_batch, footprint.FIRST_ORDER * own)
    return int(activation_bytes * classes * passes)


def no_features(network: Spec) -> str:
    """Return that a network has nothing to match, or an empty string."""
    why = f"network '{network.name}' has no layers that learn before the last"
    return "" if network.features else why


def fault(settings: Settings, network: Spec, ipc: int, what: str, facts: Facts) -> str:
    """Return what is wrong with the settings on a data set, or nothing."""
    return no_features(network) or formation.fault(settings, network, ipc, what, facts)


FACE = Face(
    Settings, "learnt", grows=GROWS, protocol="dsa", where=WHERE, fault=fault,
    peak_bytes=peak_bytes, batchnorm_bytes=batchnorm_bytes,
)  # fmt: skip
