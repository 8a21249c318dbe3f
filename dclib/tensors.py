"""Safetensors files with JSON metadata, and digests of tensors."""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from dclib import arguments, files, provenance
from dclib.errors import Damaged, InputError

_TYPES = {torch.int64: "I64", torch.uint8: "U8"}  # of tensors that are written in parts
_WHOLE = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_ROOM = 4096  # bytes of what is added to a header at the end


def is_dense(value: Any) -> bool:
    """Return whether a value is a tensor of real numbers that are all stored."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
        return False
    floating = value.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return floating or (value.dtype in _WHOLE and not value.is_quantized)


def described(value: Any) -> str:
    """Return what a message says of something that should be another tensor."""
    if not isinstance(value, Tensor):
        return arguments.told(value)
    stored = "" if value.layout == torch.strided else f"{value.layout} "
    return f"{stored}{value.dtype} of shape {tuple(value.shape)}"


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write named tensors and their JSON metadata to a safetensors file, atomically."""
    header = {"json": json.dumps(metadata, sort_keys=True)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with files.atomic(path) as part:
        try:
            safetensors.torch.save_file(contiguous, part, header)
        except safetensors.SafetensorError as error:  # a full disk
            raise OSError(str(error)) from error


@contextlib.contextmanager
def streamed(
    path: str | Path,
    shapes: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    metadata: Mapping[str, Any],
) -> Iterator[BinaryIO]:
    """Yield a stream that becomes a safetensors file: what is written are the tensors, in order.

    Args:
        shapes: type and shape of each tensor; larger types first, which keeps them aligned.
        metadata: what the header says; until the end a little may be added, as what is known once
            all has been written.

    Raises:
        InputError: the file cannot be written.
    """

    def header() -> bytes:
        told: dict[str, Any] = {"__metadata__": {"json": json.dumps(metadata, sort_keys=True)}}
        start = 0
        for name, (dtype, shape) in shapes.items():
            end = start + math.prod(shape) * dtype.itemsize
            told[name] = {
                "dtype": _TYPES[dtype], "shape": shape, "data_offsets": (start, end)
            }  # fmt: skip
            start = end
        return json.dumps(told).encode()

    room = len(header()) + _ROOM
    room += -room % 8
    with files.atomic(path) as part, part.open("wb") as stream:
        stream.seek(8 + room)
        yield stream
        stream.seek(0)
        stream.write(room.to_bytes(8, "little") + header().ljust(room))


class Seal:
    """A digest of tensors that come one after the other, each in parts: that of `fingerprint`."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def begin(self, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        """Go on to a tensor of this type and shape."""
        self._digest.update(f"{dtype} {shape}".encode())

    def update(self, part: Any) -> None:
        """Take in the next bytes of the tensor."""
        self._digest.update(part)

    def hexdigest(self) -> str:
        """Return the digest of all that there was."""
        return self._digest.hexdigest()


def fingerprint(*tensors: Tensor) -> str:
    """Return a digest of `tensors`, their shapes and types, in hexadecimal."""
    seal = Seal()
    for tensor in tensors:
        seal.begin(tensor.dtype, tuple(tensor.shape))
        # Bytes, since NumPy does not know every type.
        seal.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().data)
    return seal.hexdigest()


def write_sealed(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write a file as `write_tensors` does, with a fingerprint of all that is in it."""
    write_tensors(path, tensors, {**metadata, "fingerprint": _seal(tensors, metadata)})


def read_sealed(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what was given to `write_sealed`.

    Raises:
        Damaged: it does not fit its fingerprint.
        InputError: the file is missing, truncated, or has no fingerprint.
    """
    tensors, metadata = read_tensors(path)
    return tensors, unsealed(path, tensors, metadata)


def unsealed(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the metadata of a file of `write_sealed` without its fingerprint, which is compared.

    Raises:
        Damaged: the fingerprint does not fit.
        InputError: there is none.
    """
    if "fingerprint" not in metadata:
        raise InputError(f"{path}: it has no fingerprint, as files of this version of dclib have")
    rest = {key: value for key, value in metadata.items() if key != "fingerprint"}
    if metadata["fingerprint"] != _seal(tensors, rest):
        raise Damaged(path)
    return rest


def _seal(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    content = [(name, fingerprint(tensors[name])) for name in sorted(tensors)]
    return provenance.digest(content, metadata)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (memory-mapped) and the metadata of a file made by `write_tensors`.

    Raises:
        InputError: the file is missing, truncated, or was not written by this library.
    """
    metadata = files.read_metadata(path)
    try:
        return safetensors.torch.load_file(path), metadata
    except Exception as error:  # a type of numbers that PyTorch does not have
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
