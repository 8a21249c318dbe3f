"""The kinds of augmentation that each author's way has; it needs no PyTorch."""

from typing import Annotated, Literal, get_args

from pydantic import Field

Way = Literal["dc", "dsa", "idc", "dcbench"]
Kind = Literal[
    "crop", "scale", "rotate", "noise", "color", "cutout", "flip",
    "autoaugment", "randaugment", "imagenet", "cifar",
]  # fmt: skip

WAYS: tuple[Way, ...] = get_args(Way)
_Siamese = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
SIAMESE: tuple[_Siamese, ...] = get_args(_Siamese)
Siamese = Annotated[tuple[_Siamese, ...], Field(json_schema_extra={"uniqueItems": True})]
KINDS: dict[Way, tuple[Kind, ...]] = {
    "dc": ("crop", "scale", "rotate", "noise"),
    "dsa": SIAMESE,
    "idc": SIAMESE,
    "dcbench": ("autoaugment", "randaugment", "imagenet", "cifar"),
}
NO_FLIP = tuple(kind for kind in SIAMESE if kind != "flip")
