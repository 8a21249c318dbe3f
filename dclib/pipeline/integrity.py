"""What is wrong with a file, told from what is in it, whatever that is."""

from pathlib import Path

from dclib import files
from dclib.errors import Damaged, InputError, printable


def damage(path: str | Path) -> str | None:
    """Return what is wrong with a file in one line, or None if nothing is to be seen.

    Args:
        path: a .safetensors file, whose size and header are looked at; or the rows or the curves of
            an evaluation.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path)
    path.open("rb").close()
    try:
        if path.suffix == ".safetensors":
            files.read_metadata(path)
        else:
            read_table(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    return None


def read_table(path: Path) -> dict[str, list[float]]:
    """Return the columns of the rows or the curves of an evaluation.

    Raises:
        Damaged: a value that cannot be, or models that are not 0, 1, ... with one row each, or
            one for each epoch of a curve.
        OSError: the file cannot be read.
    """
    try:
        return _columns(path.read_bytes(), curves=path.name.endswith(".curve.csv"))
    except ValueError as error:
        raise Damaged(path, str(error)) from error


def _columns(content: bytes, curves: bool) -> dict[str, list[float]]:
    if not content.endswith(b"\n"):
        raise ValueError("its last line is cut short")
    names, *rows = (line.split(b",") for line in content.splitlines())
    needed = [b"model", b"test_accuracy", *([b"epoch"] if curves else [])]
    if missing := [name.decode() for name in needed if names.count(name) != 1]:
        raise ValueError(f"it has not one column {' nor '.join(missing)}")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} fields; there are {len(names)} columns")
    if not rows:
        raise ValueError("rows are missing")
    columns = {}
    for name, fields in zip(map(_text, names), zip(*rows, strict=True), strict=True):
        largest = 100 if name.endswith("_accuracy") else 10**9 if name == "epoch" else None
        columns[name] = [_number(name, field, largest) for field in fields]
    points: dict[float, list[float]] = {}
    for model, epoch in zip(
        columns["model"], columns["epoch"] if curves else [0.0] * len(rows), strict=True
    ):
        points.setdefault(model, []).append(epoch)
    for expected, model in enumerate(sorted(points)):
        if model != expected:
            raise ValueError(f"model {expected} is missing; there is a model {model:g}")
        if points[model] != points[0] or len(set(points[model])) < len(points[model]):
            raise ValueError(
                f"rows of model {expected} are missing or there twice: it has {len(points[model])}"
            )
    return columns


def _number(name: str, field: bytes, largest: int | None) -> float:
    try:
        value = float(field or b"nan")  # as pandas writes it
    except ValueError:
        raise ValueError(f"{name} '{_text(field)}' is not a number") from None
    if largest and not 0 <= value <= largest:
        raise ValueError(f"a {name} is {value}; allowed is 0 to {largest}")
    return value


def _text(field: bytes) -> str:
    """A field for a message."""
    text = printable(field.decode(errors="backslashreplace"))
    return text if len(text) < 80 else f"{text[:79]}…"
