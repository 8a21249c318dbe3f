"""The settings of the evaluation, and what planning has to know of it."""

import dataclasses
import math
from typing import Annotated, Any, Literal

from pydantic import Field

from dclib import footprint
from dclib.fields import Augmentation, Count, Decay, Momentum, Precision, Rate, settings

ORDINARY = "ordinary"

# What a set's own recipe decides.
_ORDINARY_ONLY = {
    "epochs", "lr", "momentum", "weight_decay", "batch", "augmentation", "curve_points",
}  # fmt: skip


@settings
class Settings:
    """How networks are trained on the sets (Zhao et al. 2021, section 4.1, and their code).

    From half-way on the learning rate is a tenth, and the momentum starts anew.
    """

    models: Count = 20
    """networks trained on each set, each from an initialisation of its own"""
    epochs: Count = 300
    """epochs of training"""
    lr: Rate = 0.01
    """learning rate"""
    momentum: Momentum = 0.9
    """momentum"""
    weight_decay: Decay = 5e-4
    """weight decay"""
    batch: Count = 256
    """batch size"""
    precision: Precision = "tf32"
    """of convolutions; tf32 means fp32 where there is no GPU that has it; bf16 in bfloat16"""
    augmentation: Annotated[
        tuple[Augmentation, ...], Field(json_schema_extra={"uniqueItems": True})
    ] = ()
    """kinds of which one is drawn for every image"""
    curve_points: Count = 20
    """at how many epochs, evenly spaced up to the last, a network is tested"""
    protocol: Literal["own", "ordinary"] = "own"
    """own: a set that was learnt for steps and learning rates of its own (dd) is trained on with
    these; ordinary: every set alike"""


def recipe_of(settings: Settings, recipe: str) -> str:
    """Return the recipe that networks are trained by on a set that names `recipe`."""
    return recipe if settings.protocol == "own" else ORDINARY


def relevant(settings: Settings, recipe: str) -> dict[str, Any]:
    """Return the settings that can touch the evaluation of a set that names `recipe`.

    Where a recipe of its own decides, most settings are idle; `protocol` is where none does.
    """
    idle = {"protocol"} if recipe == ORDINARY else set()
    if recipe_of(settings, recipe) != ORDINARY:
        idle = _ORDINARY_ONLY
    every = {**dataclasses.asdict(settings), "augmentation": [*settings.augmentation]}
    return {key: value for key, value in every.items() if key not in idle}


def peak_bytes(
    settings: Settings, activation_bytes: int, parameters: int, classes: int, ipc: int | None
) -> int:
    """Return the bytes that training and testing take at their peak on a CPU.

    Args:
        ipc: images per class of the set; None for the whole training split.
    """
    images = math.inf if ipc is None else classes * ipc
    return footprint.evaluation_bytes(activation_bytes, settings.batch, images)
