"""Whether a finished file is whole, cheaply enough to ask it of thousands of files.

A file that is written by rename is whole unless a disk or a copy has damaged it.
"""

import json
from pathlib import Path


def damage(path: str | Path, rows: int | None = None) -> str | None:
    """Return what is wrong with a .safetensors or .csv file, or None if nothing is to be seen.

    Of a .safetensors file the header and the size are looked at, of a .csv file the lines.

    Args:
        rows: how many a .csv file has to have, if that is known.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    return _tensors(path) if path.suffix == ".safetensors" else _table(path, rows)


def _tensors(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, size))
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name[:2] != "__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, AttributeError, KeyError, TypeError):
        return "its header is not that of a safetensors file"
    expected = 8 + length + end
    return None if size == expected else f"it has {size} bytes instead of {expected}"


def _table(path: Path, rows: int | None) -> str | None:
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        return "its last line is cut short"
    found = content.count(b"\n") - 1
    return None if rows in (None, found) else f"it has {found} rows instead of {rows}"
