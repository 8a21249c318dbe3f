"""Which files are read for an imported set; it needs no PyTorch."""

from pathlib import Path

_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}


def files_of(path: Path) -> list[tuple[str, Path]]:
    """Return the files that are read for the set at `path`, each with a name that moves with it."""
    if path.is_dir():
        return [(f"{name}/{file.name}", file) for name, file in pictures(path)]
    return [("", path), *((name, other) for name, other in beside(path).items() if other.exists())]


def beside(path: Path) -> dict[str, Path]:
    """Return where the labels and the learning rate of a tensor of images may be."""
    before, found, after = path.name.rpartition("images")
    if not found:
        return {}
    places = {name: path.with_name(f"{before}{name}{after}") for name in ("labels", "lr")}
    # DC-BENCH has images as pixels and normalised ones, and one file of labels for both.
    shared = path.with_name(f"{before.removesuffix('normalize_')}labels{after}")
    if shared.exists() and not places["labels"].exists():
        places["labels"] = shared
    return places


def pictures(path: Path) -> list[tuple[str, Path]]:
    """Return the pictures of a folder, each with the name of its class, which is its folder's."""
    return [
        (folder.name, file)
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in _PICTURES and not file.name.startswith(".")
    ]
