"""A user's folder of images in train/CLASS/ and test/CLASS/; links are followed."""

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np

from dclib.data.checks import SPLITS, Arrays, Facts, check, expanded
from dclib.data.choice import Counts
from dclib.data.sources.settings import Options
from dclib.errors import InputError, one_line

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
GREY_MODES = ("1", "L", "LA")

Listing = dict[str, dict[str, list[Path]]]  # the image files of every class of both splits


def look(options: Options) -> Facts:
    return _facts(options, _listing(options))


def counts(options: Options) -> Counts:
    train = _listing(options)["train"]
    return Counts([*train], [len(paths) for paths in train.values()])


def read(options: Options, data_dir: str | Path | None) -> Arrays:
    return listed(options, _listing(options))


def listed(options: Options, listing: Listing) -> Arrays:
    """Return the images of a listing."""
    mode = "L" if _facts(options, listing).channels == 1 else "RGB"
    images = {
        split: np.stack([_pixels(options, path, mode) for path in _paths(classes)])
        for split, classes in listing.items()
    }
    return _arrays(images, listing)


def content(options: Options) -> list[tuple[str, Path]]:
    root = _root(options)
    return [
        (str(path.relative_to(root)), path)
        for classes in _listing(options).values()
        for path in _paths(classes)
    ]


def _root(options: Options) -> Path:
    return expanded(str(options), options.path or "")


def _listing(options: Options) -> Listing:
    root, found = _root(options), Listing()
    for split in SPLITS:
        folder = root / split
        if not folder.is_dir():
            raise InputError(
                f"{options}: {folder} is not a folder; expected {root}/train and {root}/test with "
                "a folder of images for each class"
            )
        found[split] = {}
        for place in sorted(place for place in folder.iterdir() if place.is_dir()):
            images = _images_in(options, place)
            if not images:
                raise InputError(
                    f"{options}: class folder {place} has no image; allowed are "
                    f"{', '.join(SUFFIXES)}"
                )
            found[split][place.name] = images
    odd = sorted(found["train"].keys() ^ found["test"].keys())
    if odd:
        raise InputError(
            f"{options}: class '{odd[0]}' is in one of {root}/train and {root}/test only; every "
            "class has a folder in both"
        )
    return found


def _images_in(options: Options, folder: Path, inside: frozenset[str] = frozenset()) -> list[Path]:
    """All images in a folder and the folders in it, in order; `inside` are those that it is in."""
    place = os.path.realpath(folder)
    if place in inside:
        raise InputError(f"{options}: {folder}: a link that leads back to {place}, which it is in")
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            found += _images_in(options, path, inside | {place})
        elif path.suffix.lower() in SUFFIXES:
            found.append(path)
    return found


def _facts(options: Options, listing: Listing) -> Facts:
    """What names and headers tell, of which every image's is looked at."""
    grey, first = True, None
    for path in itertools.chain(*map(_paths, listing.values())):
        with _opened(options, path) as image:
            size, grey = (image.height, image.width), grey and image.mode in GREY_MODES
        first = first or (path, size)
        if size != first[1] and options.image_size is None:
            raise InputError(
                f"{options}: {path} has {size[1]}x{size[0]} pixels, {first[0]} "
                f"{first[1][1]}x{first[1][0]}; give the data set an image_size"
            )
    shape = (1 if grey else 3, *(first[1] if first else (0, 0)))
    black = {
        split: np.broadcast_to(np.uint8(0), (len(_paths(classes)), *shape))
        for split, classes in listing.items()
    }
    return check(str(options), _arrays(black, listing))


def _arrays(images: dict[str, np.ndarray], listing: Listing) -> Arrays:
    labels = {
        split: np.repeat(np.arange(len(classes)), [len(paths) for paths in classes.values()])
        for split, classes in listing.items()
    }
    return Arrays(
        images["train"], labels["train"], images["test"], labels["test"], list(listing["train"])
    )


def _paths(classes: dict[str, list[Path]]) -> list[Path]:
    return [*itertools.chain(*classes.values())]


def _opened(options: Options, path: Path) -> Any:
    """An image that Pillow has opened; its pixels are not read yet."""
    from PIL import Image

    try:
        image = Image.open(path)
    except Exception as error:  # Pillow raises many kinds
        raise _unreadable(options, path, error) from error
    if image.mode not in MODES:
        image.close()
        raise InputError(
            f"{options}: {path} has pixels of mode {image.mode}; allowed are 8-bit images of mode "
            f"{', '.join(MODES)}"
        )
    return image


def _pixels(options: Options, path: Path, mode: str) -> np.ndarray:
    """An image as [channels, height, width], resized if that is asked for."""
    with _opened(options, path) as opened:
        try:
            pixels = np.atleast_3d(np.asarray(opened.convert(mode))).transpose(2, 0, 1)
        except Exception as error:  # Pillow raises many kinds
            raise _unreadable(options, path, error) from error
    if options.image_size is None:
        return pixels
    import torch

    from dclib.data.datasets import resized

    image = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))[None]
    return resized(image, options.image_size)[0].numpy()


def _unreadable(options: Options, path: Path, error: Exception) -> InputError:
    return InputError(f"{options}: {path} is not a readable image ({one_line(error)})")
