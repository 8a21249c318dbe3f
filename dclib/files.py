"""Files that are whole or not there: atomic writing, and safetensors with JSON metadata."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from dclib.errors import InputError


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    A reader therefore sees the old file, or the whole new one, whatever kills the writer.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{path}: cannot be written ({reason})") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` atomically, as indented JSON with sorted keys."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write named tensors and their JSON metadata to a safetensors file, atomically."""
    header = {"json": json.dumps(metadata, sort_keys=True)}
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic(path) as part:
        safetensors.torch.save_file(contiguous, part, header)


def fingerprint(*tensors: Tensor) -> str:
    """Return a digest of `tensors`, their shapes and types, in hexadecimal."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors (memory-mapped) and the metadata of a file made by `write_tensors`.

    Raises:
        InputError: the file is missing, truncated, or was not written by this library.
    """
    metadata = read_metadata(path)
    try:
        return safetensors.torch.load_file(path), metadata
    except Exception as error:  # a type of numbers that PyTorch does not have
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a file made by `write_tensors` without reading its tensors.

    Raises:
        InputError: the file is missing, truncated, or was not written by this library.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            metadata = json.loads((opened.metadata() or {})["json"])
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: a safetensors file without dclib's metadata") from error
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: a safetensors file without dclib's metadata")
    return metadata
