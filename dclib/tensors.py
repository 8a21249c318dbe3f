"""Safetensors files with JSON metadata, and digests of tensors."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from dclib import files, provenance
from dclib.errors import Damaged, InputError


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


def fingerprint(*tensors: Tensor) -> str:
    """Return a digest of `tensors`, their shapes and types, in hexadecimal."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


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
