"""The settings of the evaluation, and what planning has to know of it."""

import dataclasses
import math
from typing import Annotated, Any, Literal

from pydantic import Field

from dclib import footprint
from dclib.fields import Count, Decay, Momentum, Precision, Rate, settings
from dclib.training.kinds import KINDS, Kind, Way

Share = Annotated[float, Field(gt=0, lt=1)]

ORDINARY = "ordinary"

# With more of them, an evaluation goes on from the networks that are there.
GROWS = ("models",)

# What a set's own recipe leaves open.
_ALWAYS = {"models", "precision", "recipe", "space"}


@settings
class Settings:
    """How networks are trained on the sets, and tested; the defaults are those of protocol `dc`."""

    models: Count = 20
    """networks trained on each set, each from an initialisation of its own"""
    epochs: Count = 300
    """epochs of training"""
    lr: Rate = 0.01
    """learning rate"""
    own_lr: bool = False
    """take the learning rate that a set brings instead, where it brings one"""
    lr_drops: Annotated[tuple[Share, ...], Field(json_schema_extra={"uniqueItems": True})] = (0.5,)
    """parts of the epochs after which the learning rate is multiplied by `lr_drop_factor`"""
    lr_drop_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """what the learning rate is multiplied by at each of `lr_drops`"""
    restart_momentum: bool = True
    """whether the momentum starts anew at each of `lr_drops`"""
    momentum: Momentum = 0.9
    """momentum"""
    weight_decay: Decay = 5e-4
    """weight decay"""
    batch: Count = 256
    """batch size"""
    precision: Precision = "tf32"
    """of convolutions; tf32 means fp32 where there is no GPU that has it; bf16 in bfloat16"""
    augmentation_way: Way = "dc"
    """whose augmentation: dc draws a kind for every image; dsa for a batch; idc applies flip, color
    and cutout always and draws one of the others for a batch; dcbench changes a batch as one"""
    augmentation: Annotated[tuple[Kind, ...], Field(json_schema_extra={"uniqueItems": True})] = ()
    """kinds that are allowed: crop, scale, rotate and noise of dc; color, crop, cutout, flip, scale
    and rotate of dsa and idc; autoaugment, randaugment, imagenet and cifar of dcbench"""
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.0
    """probability that a batch is mixed by CutMix"""
    space: Literal["normalised", "whitened"] = "normalised"
    """what networks take: images normalised by mean and standard deviation, or ZCA-whitened ones"""
    labels: Literal["own", "hard", "teacher"] = "own"
    """what networks learn: the labels that a set has; hard: the likeliest class of those; teacher:
    what a network trained on all images (`reference_network`) says of every batch"""
    temperature: Rate = 1.0
    """what logits are divided by, the networks' and a teacher's, where a teacher labels"""
    curve_points: Count = 20
    """at how many epochs, evenly spaced up to the last, a network is tested"""
    recipe: Literal["ordinary", "own"] = "ordinary"
    """ordinary: every set alike; own: by the steps and learning rates that a set was learnt for
    (dd)"""

    def __post_init__(self) -> None:
        """Refuse kinds that the way to augment does not have, and what does not go together."""
        allowed = KINDS[self.augmentation_way]
        for kind in self.augmentation:
            if kind not in allowed:
                raise ValueError(
                    f"augmentation '{kind}' is none of augmentation_way "
                    f"'{self.augmentation_way}': {', '.join(allowed)}"
                )
        if self.space == "whitened":
            if self.augmentation_way == "dcbench" and self.augmentation:
                raise ValueError("augmentation_way 'dcbench' changes pixels, not whitened images")
            if self.labels == "teacher":
                raise ValueError(
                    "labels 'teacher' go with images on which the teacher was trained; say `space: "
                    "normalised` as well"
                )


def recipe_of(settings: Settings, recipe: str) -> str:
    """Return the recipe that networks are trained by on a set that names `recipe`."""
    return recipe if settings.recipe == "own" else ORDINARY


def relevant(settings: Settings, recipe: str) -> dict[str, Any]:
    """Return the settings that can touch the evaluation of a set that names `recipe`.

    Where a recipe of its own decides, most settings are idle; `recipe` is where none does.
    """
    every = {name: _like_json(value) for name, value in dataclasses.asdict(settings).items()}
    if recipe_of(settings, recipe) != ORDINARY:
        return {name: value for name, value in every.items() if name in _ALWAYS}
    idle = {"recipe"} if recipe == ORDINARY else set()
    if not settings.augmentation:
        idle |= {"augmentation_way"}
    if settings.labels != "teacher":
        idle |= {"temperature"}
    if not settings.lr_drops:
        idle |= {"lr_drop_factor", "restart_momentum"}
    return {name: value for name, value in every.items() if name not in idle}


def _like_json(value: Any) -> Any:
    return [*value] if isinstance(value, tuple) else value


def peak_bytes(
    settings: Settings, activation_bytes: int, parameters: int, classes: int, ipc: int | None
) -> int:
    """Return the bytes that training and testing take at their peak on a CPU.

    Args:
        ipc: images per class of the set; None for the whole training split.
    """
    images = math.inf if ipc is None else classes * ipc
    needed = footprint.evaluation_bytes(activation_bytes, settings.batch, images)
    if settings.labels == "teacher":
        needed += int(footprint.FORWARD * activation_bytes * min(settings.batch, images))
    return needed
