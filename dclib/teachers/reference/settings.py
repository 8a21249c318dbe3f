"""The settings of the reference network, and what planning has to know of it."""

import dataclasses
import math
from typing import Any

from dclib import footprint
from dclib.fields import Count, Decay, Momentum, Rate, settings


@settings
class Settings:
    """How the network is trained that herding, kcenter and forgetting look at.

    From half-way on the learning rate is a tenth, and the momentum starts anew.
    """

    epochs: Count = 20
    """epochs of training"""
    lr: Rate = 0.01
    """learning rate"""
    momentum: Momentum = 0.9
    """momentum"""
    weight_decay: Decay = 5e-4
    """weight decay"""
    batch: Count = 256
    """batch size"""


def relevant(settings: Settings) -> dict[str, Any]:
    """Return the settings that can touch the network: all."""
    return dataclasses.asdict(settings)


def peak_bytes(settings: Settings, activation_bytes: int, parameters: int) -> int:
    """Return the bytes that training and testing take at their peak on a CPU."""
    return footprint.evaluation_bytes(activation_bytes, settings.batch, math.inf)
