"""The types that settings are made of: each with its range, from which the schema is made."""

import dataclasses
from collections.abc import Collection
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

Kind = TypeVar("Kind")


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def settings(kind: type[Kind]) -> type[Kind]:
    """Make a frozen dataclass of checked fields, described by the text under each of them."""
    config = ConfigDict(use_attribute_docstrings=True, extra="forbid")
    made: Any = dataclass(frozen=True, config=config)(kind)
    return made


def described(kind: type[Any]) -> dict[str, Any]:
    """Return the JSON Schema of settings; an inherited one has the text that it has there."""
    schema = TypeAdapter(kind).json_schema()
    for base in kind.__bases__:
        if dataclasses.is_dataclass(base):
            for name, told in described(base)["properties"].items():
                schema["properties"][name].setdefault("description", told["description"])
    return schema


def without(settings: Any, names: Collection[str]) -> dict[str, Any]:
    """Return all settings but those of these names."""
    every = dataclasses.asdict(settings)
    return {name: value for name, value in every.items() if name not in names}


Count = Annotated[int, Field(ge=1, strict=True)]
Number = Annotated[int, Field(ge=0, strict=True)]
Rate = Annotated[float, Field(gt=0, le=1e38)]
Decay = Annotated[float, Field(ge=0, le=1e38)]
Finite = Annotated[float, Field(ge=-1e38, le=1e38)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Precision = Literal["fp32", "tf32", "bf16"]
Augmentation = Literal["crop", "scale", "rotate", "noise"]
