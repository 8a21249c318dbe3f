"""What is known of a data set before its pixels are read, and without PyTorch.

A plan asks this module which images are too small for a network and which class is too small for
the images per class; a reader asks it whether what it has read can be trained on.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dclib.data.checks import SPLITS, TENSOR_NAMES, Facts, check, check_statistics
from dclib.data.folders import files_in
from dclib.errors import InputError, one_line

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
IMAGE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
GREY_MODES = ("1", "L", "LA")
PUBLIC = {
    "MNIST": Facts(1, (28, 28), 5421),
    "FashionMNIST": Facts(1, (28, 28), 6000),
    "SVHN": Facts(3, (32, 32), 4659),
    "CIFAR10": Facts(3, (32, 32), 5000),
    "digits": Facts(1, (8, 8), 140),
}

Listing = dict[str, dict[str, list[Path]]]  # the image files of every class of both splits


def look(
    source: str,
    *,
    name: str,
    path: str | Path | None = None,
    image_size: int | Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Facts:
    """Return the facts of a data set, of a user's own from its file names, headers and labels.

    The arguments are those of `dclib.data.readers.read`.

    Raises:
        InputError: as far as that can be seen, the data set cannot be read or trained on.
    """
    if source in PUBLIC:
        facts = PUBLIC[source]
    else:
        place = own_path(name, str(path))
        try:
            facts = (
                _look_at_npz(name, place)
                if source == "npz"
                else _look_at_folder(name, place, image_size is not None)
            )
        except OSError as error:
            raise InputError(f"data set '{name}': {path} cannot be read ({error})") from error
    check_statistics(f"data set '{name}'", facts.channels, mean=mean, std=std)
    return facts if image_size is None else facts._replace(image_size=size_of(image_size))


def own_path(name: str, path: str | Path) -> Path:
    """Return a path that the user has given for a data set, with `~` expanded.

    Raises:
        InputError: there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"data set '{name}': {path}: {one_line(error)}") from error


def size_of(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width of what the configuration calls `image_size`."""
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width


def list_images(name: str, root: Path) -> Listing:
    """Return the images in train/CLASS/ and test/CLASS/, by split and class.

    Raises:
        InputError: a folder is missing or has no image, or the splits differ in their classes.
    """
    found: Listing = {}
    for split in SPLITS:
        folder = root / split
        if not folder.is_dir():
            raise InputError(
                f"data set '{name}': {folder} is not a folder; expected {root}/train and "
                f"{root}/test with a folder of images for each class"
            )
        found[split] = {}
        for place in sorted(place for place in folder.iterdir() if place.is_dir()):
            try:
                images = [p for p in files_in(place) if p.suffix.lower() in IMAGE_SUFFIXES]
            except InputError as error:
                raise InputError(f"data set '{name}': {error}") from error
            if not images:
                raise InputError(
                    f"data set '{name}': class folder {place} has no image; allowed are "
                    f"{', '.join(IMAGE_SUFFIXES)}"
                )
            found[split][place.name] = images
    odd = sorted(found["train"].keys() ^ found["test"].keys())
    if odd:
        raise InputError(
            f"data set '{name}': class '{odd[0]}' is in one of {root}/train and {root}/test only; "
            "every class has a folder in both"
        )
    return found


def open_image(name: str, path: Path) -> Any:
    """Return an image that Pillow has opened; its pixels are not read yet.

    Raises:
        InputError: it is not an image, or not one of 8 bits a channel.
    """
    from PIL import Image

    try:
        image = Image.open(path)
    except Exception as error:  # Pillow raises many kinds
        raise unreadable(name, path, error) from error
    if image.mode not in IMAGE_MODES:
        image.close()
        raise InputError(
            f"data set '{name}': {path} has pixels of mode {image.mode}; allowed are 8-bit images "
            f"of mode {', '.join(IMAGE_MODES)}"
        )
    return image


def unreadable(name: str, path: Path, error: Exception) -> InputError:
    """Return what to raise when Pillow cannot read an image."""
    return InputError(f"data set '{name}': {path} is not a readable image ({one_line(error)})")


def corrupt(name: str, path: Path, error: Exception) -> InputError:
    """Return what to raise when an .npz cannot be read."""
    return InputError(f"data set '{name}': {path} is corrupt ({one_line(error)})")


def _look_at_folder(name: str, root: Path, resized: bool) -> Facts:
    listing = list_images(name, root)
    sizes: dict[str, tuple[int, int]] = {}
    grey, first = True, None
    for split, classes in listing.items():
        for path in (path for images in classes.values() for path in images):
            with open_image(name, path) as image:
                size, grey = (image.height, image.width), grey and image.mode in GREY_MODES
            first = first or (path, size)
            sizes.setdefault(split, size)
            if size != first[1] and not resized:
                raise InputError(
                    f"data set '{name}': {path} has {size[1]}x{size[0]} pixels, {first[0]} "
                    f"{first[1][1]}x{first[1][0]}; give the data set an image_size"
                )
    shapes, labels = {}, {}
    for split, classes in listing.items():
        counts = [len(images) for images in classes.values()]
        shapes[split] = (sum(counts), 1 if grey else 3, *(first[1] if first else (0, 0)))
        labels[split] = np.repeat(np.arange(len(counts)), counts)
    return check(f"data set '{name}'", shapes, labels, list(listing["train"]))


def _look_at_npz(name: str, path: Path) -> Facts:
    if not path.is_file():
        raise InputError(
            f"data set '{name}': no file {path}; expected an .npz with {', '.join(TENSOR_NAMES)}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [member.removesuffix(".npy") for member in archive.namelist()]
            missing = [key for key in TENSOR_NAMES if key not in arrays]
            if missing:
                raise InputError(
                    f"data set '{name}': {path} has no array {missing[0]}; it has "
                    f"{', '.join(arrays) or 'none'}"
                )
            shapes, labels = {}, {}
            for split in SPLITS:
                shapes[split] = _images_shape(name, path, archive, f"{split}_images")
                labels[split] = _labels(name, path, archive, f"{split}_labels")
            names = _array(archive, "class_names") if "class_names" in arrays else None
    except InputError:
        raise
    except Exception as error:  # zipfile and numpy raise many kinds
        raise corrupt(name, path, error) from error
    return check(f"data set '{name}'", shapes, labels, class_names(name, labels["train"], names))


def class_names(name: str, labels: np.ndarray, names: np.ndarray | None) -> Sequence[str]:
    """Return the classes of an .npz: as they are named there, else the numbers up to the largest.

    Raises:
        InputError: `names` is not a list of different names.
    """
    if names is None:
        return [str(c) for c in np.unique(labels[labels >= 0])]
    if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) < len(names):
        raise InputError(
            f"data set '{name}': class_names is {names.dtype} of shape {names.shape}; allowed are "
            "texts of shape [classes], no name twice"
        )
    return names.tolist()


def _array(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _images_shape(
    name: str, path: Path, archive: zipfile.ZipFile, key: str
) -> tuple[int, int, int, int]:
    """Return the shape [n, channels, height, width] that an array of images will have."""
    with archive.open(f"{key}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(stream)
    if dtype != np.uint8 or len(shape) not in (3, 4):
        raise InputError(
            f"data set '{name}': {key} in {path} is {dtype} of shape {shape}; allowed is uint8 of "
            "shape [n, h, w], [n, c, h, w] or [n, h, w, c]"
        )
    if len(shape) == 3:
        shape = (shape[0], 1, *shape[1:])
    elif channels_last(shape):
        shape = (shape[0], shape[3], *shape[1:3])
    n, channels, height, width = shape
    return n, channels, height, width


def channels_last(shape: Sequence[int]) -> bool:
    """Whether the channels of images of four dimensions are the last one, not the second."""
    return shape[1] not in (1, 3) and shape[3] in (1, 3)


def _labels(name: str, path: Path, archive: zipfile.ZipFile, key: str) -> np.ndarray:
    labels = _array(archive, key)
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise InputError(
            f"data set '{name}': {key} in {path} is {labels.dtype} of shape {labels.shape}; "
            "allowed are integers of shape [n]"
        )
    return labels
