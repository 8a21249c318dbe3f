"""Whether a finished file is whole, cheaply enough to ask it of thousands of files.

A file that is written by rename is whole unless a disk or a copy has damaged it.
"""

import json
from collections import Counter
from pathlib import Path


def damage(path: str | Path) -> str | None:
    """Return what is wrong with a file, or None if nothing is to be seen.

    Args:
        path: a .safetensors file, whose header and size are looked at; or a table of an evaluation,
            which has equally many rows for each model, and the same models as the curves beside it.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    return _tensors(path) if path.suffix == ".safetensors" else _table(path)


def _tensors(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, size))
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name[:2] != "__"}
        end = max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, AttributeError, LookupError, TypeError):
        return "its header is not that of a safetensors file"
    expected = 8 + length + end
    return None if size == expected else f"it has {size} bytes instead of {expected}"


def _table(path: Path) -> str | None:
    content = path.read_bytes()
    if not content.endswith(b"\n"):
        return "its last line is cut short"
    rows = _rows(content)
    if len(set(rows.values())) != 1 or sorted(rows) != sorted(b"%d" % n for n in range(len(rows))):
        return "rows of a model are missing"
    curves = path.with_suffix(".curve.csv")
    if not path.name.endswith(".curve.csv") and curves.is_file():
        models = len(_rows(curves.read_bytes()))
        if models > len(rows):
            return f"it has {len(rows)} models, and the curves beside it have {models}"
    return None


def _rows(content: bytes) -> Counter[bytes]:
    """Count the rows of each model, whose number is in the first column."""
    return Counter(line.split(b",")[0] for line in content.splitlines()[1:])
