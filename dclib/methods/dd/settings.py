"""The settings of `dd`, and what planning has to know of it."""

from dclib import footprint
from dclib.fields import Count, Momentum, Number, Rate, settings
from dclib.methods import Face


@settings
class Settings:
    """Dataset distillation; the defaults are the paper's for MNIST, those for CIFAR10
    are named."""

    iterations: Count = 23600
    """freshly initialised networks; 400 epochs of MNIST's images (CIFAR10: 19600)"""
    epochs: Count = 3
    """how often the steps are repeated for each network"""
    lr_net: Rate = 0.02
    """what the learning rates of the network begin with (CIFAR10: 0.001)"""
    lr_img: Rate = 0.01
    """Adam's learning rate, for the images and for the learning rates before softplus"""
    beta1: Momentum = 0.5
    """Adam's first decay"""
    beta2: Momentum = 0.999
    """Adam's second decay"""
    lr_halvings: Number = 10
    """the iterations fall into this many equal parts, each with half of Adam's learning rate in the
    one before; 0 and 1: it stays"""
    real_batch: Count = 1024
    """real images in the objective, of any class"""
    augment_real: bool = False
    """crop and flip the real images, padded by reflection (CIFAR10: true)"""


def peak_bytes(
    settings: Settings, activation_bytes: int, parameters: int, classes: int, ipc: int
) -> int:
    """Return the bytes that an iteration takes at its peak: a copy of the weights a step."""
    real = min(footprint.MICRO_BATCH["cpu"], settings.real_batch)
    passes = footprint.FIRST_ORDER * real + footprint.SECOND_ORDER * classes
    return int(activation_bytes * passes) + 4 * parameters * settings.epochs * ipc


FACE = Face(
    Settings,
    "learnt",
    batchnorm=False,
    recipe="unrolled",
    protocol="dd",
    where={"dataset=CIFAR10": {"iterations": 19600, "lr_net": 0.001, "augment_real": True}},
    peak_bytes=peak_bytes,
)
