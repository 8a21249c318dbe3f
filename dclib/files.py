"""Files that are whole or not there: atomic writing, and what is in them, without PyTorch."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors

from dclib.errors import InputError, one_line


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
        part.unlink(missing_ok=True)  # a link there may lead anywhere
        part.touch()
        mode = part.stat().st_mode  # what others may do with it; safetensors allows them nothing
        yield part
        part.chmod(mode)
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        reason = error.strerror or error
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


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the mapping that a JSON file holds.

    Raises:
        InputError: the file is missing or damaged, or holds something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({one_line(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: JSON, but not a mapping")
    return content


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata of a file made by `dclib.tensors.write_tensors`, and no tensor.

    Raises:
        InputError: the file is missing, truncated, or was not written by this library.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            metadata = json.loads((opened.metadata() or {})["json"])
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error})") from error
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: a safetensors file without dclib's metadata") from error
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: a safetensors file without dclib's metadata")
    return metadata


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
