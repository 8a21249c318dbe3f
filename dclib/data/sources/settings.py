"""What can be said of a data set: its entry in the configuration."""

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from dclib.fields import Count, Number, settings, without

_PIXELS = {"description": "pixels", "type": "integer", "minimum": 4, "maximum": 4096}


def _ascending(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] >= values[1]:
        raise ValueError("black has to be below white")
    return values


def _names(schema: dict[str, Any]) -> None:
    from dclib.data import sources

    schema["enum"] = sources.names()


_Name = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=60)]
_Path = Annotated[
    str,
    BeforeValidator(lambda path: os.fspath(path) if isinstance(path, os.PathLike) else path),
    Field(min_length=1),
]
_Pixels = Annotated[int, Field(ge=_PIXELS["minimum"], le=_PIXELS["maximum"], strict=True)]
_Size = Annotated[
    tuple[_Pixels, _Pixels],
    BeforeValidator(lambda size: (size, size) if isinstance(size, int) else size),
    WithJsonSchema(
        {**_PIXELS, "type": ["integer", "array"], "minItems": 2, "maxItems": 2, "items": _PIXELS}
    ),
]
_LEVEL = {"description": "0 to 255", "type": "integer", "minimum": 0, "maximum": 255}
_Level = Annotated[int, Field(ge=0, le=255, strict=True)]
_Colour = Annotated[
    tuple[_Level, _Level, _Level],
    BeforeValidator(lambda grey: (grey,) * 3 if isinstance(grey, int) else grey),
    WithJsonSchema(
        {**_LEVEL, "type": ["integer", "array"], "minItems": 3, "maxItems": 3, "items": _LEVEL}
    ),
]
_Value = Annotated[float, Field(ge=-1e38, le=1e38)]
_Values = Annotated[
    tuple[_Value, _Value],
    AfterValidator(_ascending),
    WithJsonSchema(
        {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"description": "a pixel's value", "type": "number"},
        }
    ),
]
_Test = Annotated[
    Annotated[float, Field(gt=0, lt=1)] | Literal["validation"],
    WithJsonSchema(
        {
            "description": "a share between 0 and 1, or validation",
            "type": ["number", "string"],
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "pattern": "^validation$",
        }
    ),
]
_Class = Annotated[
    Number | Annotated[str, Field(min_length=1)],
    WithJsonSchema(
        {
            "description": "a class by its name, or by its index, from 0",
            "type": ["integer", "string"],
            "minimum": 0,
        }
    ),
]


def _held_out(value: Any) -> Any:
    if value == "merge" or (
        not isinstance(value, bool)
        and (
            (isinstance(value, int) and value >= 1) or (isinstance(value, float) and 0 < value < 1)
        )
    ):
        return value
    raise PydanticCustomError("held_out", "it is neither")


_Validation = Annotated[
    int | float | Literal["merge"],
    PlainValidator(_held_out),
    WithJsonSchema({"type": ["number", "string"], "exclusiveMinimum": 0, "pattern": "^merge$"}),
]
_Mean = Annotated[float, Field(description="mean of a channel")]
_Deviation = Annotated[float, Field(gt=0, description="standard deviation of a channel")]


@settings
class Options:
    """The name of a public data set, or a mapping with name, source and path."""

    name: _Name
    """what paths and tables call it, of letters, digits, '_' and '-'"""
    source: str = Field(default_factory=lambda given: given["name"], json_schema_extra=_names)
    """what is read; the name if left out"""
    path: _Path | None = None
    """the folder or file of a user's own data"""
    image_size: _Size | None = None
    """pixels, or height and width, that images are resized to"""
    fit: Literal["stretch", "crop", "pad"] = "stretch"
    """how images of another shape come to image_size: stretched, cropped to the middle, or whole
    with the background beside"""
    background: _Colour = (255, 255, 255)
    """red, green and blue (or one number for a grey) behind what is transparent, and beside images
    that are padded"""
    values: _Values | None = None
    """black and white of grey images with more than 8 bits a pixel; if left out, 0 and 65535 of
    integers, 0 and 1 of floats"""
    test: _Test | None = None
    """what is tested on where a folder has no test split: its validation split, or a share of every
    class, chosen by split_seed"""
    mean: Annotated[tuple[_Mean, ...], Field(min_length=1)] | None = None
    """a mean for each channel, of pixels from 0 to 1"""
    std: Annotated[tuple[_Deviation, ...], Field(min_length=1)] | None = None
    """a standard deviation for each channel, of pixels from 0 to 1"""
    classes: Annotated[tuple[_Class, ...], Field(min_length=2)] | None = None
    """the classes that are used, by name or index, in this order"""
    validation: _Validation | None = None
    """a share below 1, or a number, of the training images, which are held out, of each class in
    proportion, and networks are tested on as well; or merge: validation images that a source has of
    its own become training images (without it they are used as such)"""
    max_per_class: Count | None = None
    """training images that a class has at most, those held out not counted"""
    split_seed: Number = 0
    """by which images are held out and left out; it has nothing to do with the seeds of the grid"""

    def __str__(self) -> str:
        return f"data set '{self.name}'"


def relevant(options: Options) -> dict[str, Any]:
    """Return the options that can touch what is read, but for the name and the place."""
    idle = {"name", "path"}
    held_out = options.validation not in (None, "merge") or options.max_per_class is not None
    if not held_out and not isinstance(options.test, float):
        idle.add("split_seed")
    return without(options, idle)
