"""Picture files, and how each becomes pixels: upright, opaque, with 8 bits, as a viewer shows it.

Pillow is imported where it is needed: a plan of public data sets does without.
"""

import itertools
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dclib.data.sources.settings import Options
from dclib.errors import InputError, one_line

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
# What is black and what is white, of greys with more than 8 bits, where nothing else is said.
DEEP = {mode: (0.0, 65535.0) for mode in ("I;16", "I;16B", "I;16L", "I;16N", "I")} | {
    "F": (0.0, 1.0)
}
GREY_MODES = ("1", "L", "LA", *DEEP)
_ORIENTATION = 0x0112  # the tag of EXIF
_PHOTOMETRIC = 262  # a tag of TIFF
_BATCH_BYTES = 2**22
_BATCH = 64  # images at most


class Header(NamedTuple):
    """What an image's header tells.

    Attributes:
        size: height and width in pixels, of the image turned upright.
        mode: Pillow's name of the kind of its pixels.
        transparent: it may have pixels that a background shines through.
    """

    size: tuple[int, int]
    mode: str
    transparent: bool


class Pictures:
    """Images in files as an array of uint8 that is read batch by batch, and held by nobody.

    Args:
        options: the data set's, which say how files become pixels.
        paths: the file of each image.
        shape: channels, height and width of all of them.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, options: Options, paths: Sequence[str], shape: tuple[int, int, int]) -> None:
        self._options, self._paths, self._shape = options, paths, shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[n, channels, height, width], as an array has it."""
        return (len(self._paths), *self._shape)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, chosen: Any) -> "Pictures":
        """Return some of the images: a slice, indices or a mask of them."""
        places = np.arange(len(self))[chosen]
        return Pictures(self._options, [self._paths[i] for i in places], self._shape)

    def __array_function__(self, function: Any, types: Any, given: Any, named: Any) -> Any:
        """Join pictures of one data set, which are not read for it."""
        if function is not np.concatenate or named or not all(t is Pictures for t in types):
            return NotImplemented
        paths = [path for each in given[0] for path in each._paths]
        return Pictures(self._options, paths, self._shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.empty(self.shape, np.uint8)
        start = 0
        for batch in self.batches():
            whole[start : start + len(batch)] = batch
            start += len(batch)
        return whole if dtype is None else whole.astype(dtype)

    def batches(self, processes: int = 1) -> Iterator[np.ndarray]:
        """Yield the images in order, [some, channels, height, width] at a time.

        Args:
            processes: how many read at the same time; they need no `if __name__ == "__main__"`.

        Raises:
            InputError: a file is no image; it names the first one, and says how many there are.
        """
        size = max(1, min(_BATCH, _BATCH_BYTES // max(1, int(np.prod(self._shape)))))
        mode = "L" if self._shape[0] == 1 else "RGB"
        parts = [self._paths[start : start + size] for start in range(0, len(self), size)]
        faults: list[str] = []
        for pixels, found in _read(self._options, parts, mode, min(processes, len(parts))):
            faults += found
            if not faults and pixels is not None:
                yield pixels
        if faults:
            more = f" (and {len(faults) - 1} more like it)" if len(faults) > 1 else ""
            raise InputError(faults[0] + more)


def header(options: Options, path: str) -> Header:
    """Return what the header of an image tells; its pixels are not read.

    Raises:
        InputError: it is no image, or none of a kind that is read.
    """
    with _opened(options, path) as image:
        width, height = image.size
        # What is square is so however it is turned, which saves a look at the end of the file.
        if width != height and _orientation(image) > 4 and image.format != "TIFF":
            width, height = height, width
        return Header((height, width), image.mode, image.has_transparency_data)


def pixels(options: Options, path: str, mode: str) -> np.ndarray:
    """Return an image as uint8 of shape [channels, height, width], of the size that is asked for.

    Args:
        mode: `L` for one channel, `RGB` for three.

    Raises:
        InputError: it is no image, a part of it is missing, or its values are beyond black and
            white.
    """
    with _opened(options, path) as image:
        try:
            shown = _flat(options, path, _upright(image), mode)
        except InputError:
            raise
        except Exception as error:  # Pillow raises many kinds
            raise _unreadable(options, path, error) from error
    array = np.atleast_3d(np.asarray(shown)).transpose(2, 0, 1)
    if options.image_size is None:
        return array
    import torch

    from dclib.data.datasets import fitted

    one = torch.from_numpy(np.require(array, requirements=["C", "W"]))[None]
    return fitted(one, options.image_size, options.fit, options.background)[0].numpy()


IDLE_SECONDS = 10  # after which a process ends that reads files, should who started it be killed


def _read(
    options: Options, parts: Sequence[Sequence[str]], mode: str, processes: int
) -> Iterator[tuple[np.ndarray | None, list[str]]]:
    """Read parts in order; no more of them are held than the processes are busy with."""
    if processes < 2:
        for part in parts:
            yield _batch(options, part, mode)
        return
    from concurrent.futures.process import BrokenProcessPool

    import joblib

    waiting = iter(parts)
    try:
        with (
            joblib.parallel_config("loky", idle_worker_timeout=IDLE_SECONDS),
            joblib.Parallel(n_jobs=processes, return_as="generator") as pool,
        ):
            while some := list(itertools.islice(waiting, 8 * processes)):
                yield from pool(joblib.delayed(_batch)(options, part, mode) for part in some)
    except BrokenProcessPool as error:
        raise InputError(
            f"{options}: one of {processes} processes that read files was killed, as a system does "
            "that is short of memory; fewer read at a time with fewer --cores"
        ) from error


def _batch(
    options: Options, paths: Sequence[str], mode: str
) -> tuple[np.ndarray | None, list[str]]:
    """The images of some files, or what is wrong with them."""
    images, faults = [], []
    for path in paths:
        try:
            images.append(pixels(options, path, mode))
        except InputError as error:
            faults.append(str(error))
    return (None if faults else np.stack(images)), faults


def _opened(options: Options, path: str) -> Any:
    """An image that Pillow has opened; its pixels are not read yet."""
    from PIL import Image

    try:
        image = Image.open(path)
    except Exception as error:  # Pillow raises many kinds
        raise _unreadable(options, path, error) from error
    if image.mode not in MODES and image.mode not in DEEP:
        image.close()
        raise InputError(
            f"{options}: {path} has pixels of mode {image.mode}; allowed are "
            f"{', '.join((*MODES, *DEEP))}: convert it to RGB"
        )
    return image


def _orientation(image: Any) -> int:
    """How an image is to be turned, as EXIF numbers it; 1 where nothing valid says so."""
    if image.format == "PNG" and "exif" not in image.info and not _tells_more(image.fp):
        return 1  # to look for it, Pillow would read the pixels
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # of a damaged EXIF, which viewers pass over
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _tells_more(stream: Any) -> bool:
    """Whether a PNG has a chunk, before or behind its pixels, that may say how to turn it."""
    before = stream.tell()
    try:
        stream.seek(8)
        while len(start := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            if kind in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            stream.seek(length + 4, os.SEEK_CUR)
        return False
    finally:
        stream.seek(before)


def _upright(image: Any) -> Any:
    from PIL import ImageOps

    # Pillow turns TIFFs itself, as it reads their pixels.
    if image.format == "TIFF" or _orientation(image) == 1:
        return image
    return ImageOps.exif_transpose(image)


def _flat(options: Options, path: str, image: Any, mode: str) -> Any:
    """An image with 8 bits, in front of the background, in another mode."""
    from PIL import Image

    if image.mode in DEEP:
        image = _eight_bits(options, path, image)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (*options.background, 255))
        ground.alpha_composite(image.convert("RGBA"))
        image = ground
    return image.convert(mode)


def _eight_bits(options: Options, path: str, image: Any) -> Any:
    """A grey image of more bits or of floats, from black to white as the options say."""
    from PIL import Image

    values = np.asarray(image).astype(np.float64)
    low, high = options.values or DEEP[image.mode]
    if not np.isfinite(values).all():
        raise InputError(
            f"{options}: {path} has NaN or infinite values; allowed are finite ones: replace them"
        )
    if options.values is None and not low <= values.min() <= values.max() <= high:
        raise InputError(
            f"{options}: {path} has values from {values.min():g} to {values.max():g}; allowed are "
            f"{low:g} (black) to {high:g} (white), or others that `values: [black, white]` names"
        )
    grey = np.rint((values.clip(low, high) - low) / (high - low) * 255).astype(np.uint8)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:  # a TIFF whose 0 is white
        grey = 255 - grey
    alpha = np.where(values == image.info.get("transparency"), 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([grey, alpha])) if not alpha.all() else Image.fromarray(grey)


def _unreadable(options: Options, path: str, error: Exception) -> InputError:
    from PIL import UnidentifiedImageError

    why = one_line(error)
    if isinstance(error, UnidentifiedImageError):
        empty = Path(path).is_file() and not Path(path).stat().st_size
        why = "it is empty" if empty else "its content is of no known format"
    return InputError(
        f"{options}: {path} is not a readable image ({why}): remove it, or put a whole one in its "
        "place"
    )
