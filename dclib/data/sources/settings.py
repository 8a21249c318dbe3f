"""What can be said of a data set: its entry in the configuration."""

import os
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from dclib.fields import settings

_PIXELS = {"description": "pixels", "type": "integer", "minimum": 4, "maximum": 4096}


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
    mean: Annotated[tuple[_Mean, ...], Field(min_length=1)] | None = None
    """a mean for each channel, of pixels from 0 to 1"""
    std: Annotated[tuple[_Deviation, ...], Field(min_length=1)] | None = None
    """a standard deviation for each channel, of pixels from 0 to 1"""

    def __str__(self) -> str:
        return f"data set '{self.name}'"
