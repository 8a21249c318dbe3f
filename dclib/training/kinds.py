"""The kinds of augmentation that each author's way has; it needs no PyTorch."""

from typing import Literal, get_args

Way = Literal["dc", "dsa", "idc", "dcbench"]
Kind = Literal[
    "crop", "scale", "rotate", "noise", "color", "cutout", "flip",
    "autoaugment", "randaugment", "imagenet", "cifar",
]  # fmt: skip

WAYS: tuple[Way, ...] = get_args(Way)
_SIAMESE: tuple[Kind, ...] = ("color", "crop", "cutout", "flip", "scale", "rotate")
KINDS: dict[Way, tuple[Kind, ...]] = {
    "dc": ("crop", "scale", "rotate", "noise"),
    "dsa": _SIAMESE,
    "idc": _SIAMESE,
    "dcbench": ("autoaugment", "randaugment", "imagenet", "cifar"),
}
