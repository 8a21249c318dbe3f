"""Writing a data set to its file as its images are read, in memory that does not grow with it."""

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dclib import provenance, tensors
from dclib.data import datasets
from dclib.data.checks import TENSOR_NAMES, VALIDATION_NAMES, Arrays
from dclib.data.sources.settings import Options

log = logging.getLogger(__name__)

_BATCH_BYTES = 2**24
_DARK = 32  # of 255: what no pixel is brighter than, where the white of deeper greys is wrong


def batches(options: Options, images: Any, processes: int = 1) -> Iterator[Tensor]:
    """Yield images of the size that is asked for, as uint8 of shape [some, channels, h, w].

    Args:
        images: an array of shape [n, channels, height, width], or `Pictures`.
        processes: how many read files at the same time.

    Raises:
        InputError: as `Pictures.batches` does.
    """
    size = options.image_size or tuple(images.shape[2:])
    parts = images.batches(processes) if hasattr(images, "batches") else _parts(images)
    for part in parts:
        batch = torch.from_numpy(np.require(part, requirements=["C", "W"]))
        yield datasets.fitted(batch, size, options.fit, options.background)


def whole(options: Options, images: Any, processes: int = 1) -> Tensor:
    """Return all that `batches` yields as one tensor."""
    if isinstance(images, np.ndarray) and options.image_size in (None, images.shape[2:]):
        return torch.from_numpy(np.require(images, requirements=["C", "W"]))
    made = torch.empty((len(images), images.shape[1], *(options.image_size or images.shape[2:])),
                       dtype=torch.uint8)  # fmt: skip
    start = 0
    for batch in batches(options, images, processes):
        made[start : start + len(batch)] = batch
        start += len(batch)
    return made


def write(path: str | Path, options: Options, arrays: Arrays, processes: int = 1) -> None:
    """Write the file that `ImageDataset.load` maps into memory.

    It is the one that `ImageDataset.save` would write of the same images, but for room in its
    header.

    Args:
        arrays: as a source has them.
        processes: how many read files at the same time.

    Raises:
        InputError: a file of an image cannot be read, or `path` cannot be written.
    """
    splits = [name for name in (*TENSOR_NAMES, *VALIDATION_NAMES) if name.endswith("images")]
    images = {name: getattr(arrays, name) for name in splits if getattr(arrays, name) is not None}
    labels = {
        name: torch.from_numpy(getattr(arrays, name).astype(np.int64))
        for name in (f"{split.removesuffix('images')}labels" for split in images)
    }
    size = options.image_size or tuple(arrays.train_images.shape[2:])
    shapes = {name: (torch.int64, tuple(tensor.shape)) for name, tensor in labels.items()}
    shapes |= {name: (torch.uint8, (*array.shape[:2], *size)) for name, array in images.items()}
    metadata: dict[str, Any] = {
        "dataset": options.name,
        "class_names": tuple(arrays.class_names),
        "train_images": len(arrays.train_images),
        "test_images": len(arrays.test_images),
    }
    seal, seen, started = tensors.Seal(), torch.zeros(1, dtype=torch.int64), time.monotonic()
    total = sum(map(len, images.values()))
    bar = tqdm(total=total, desc=options.name, unit=" images", disable=not sys.stderr.isatty(),
               leave=False)  # fmt: skip
    with bar, tensors.streamed(path, shapes, metadata) as stream:
        for tensor in labels.values():
            stream.write(tensor.numpy().data)
        for name, array in images.items():
            seal.begin(*shapes[name])
            for batch in batches(options, array, processes):
                stream.write(batch.numpy().data)
                seal.update(batch.numpy().data)
                if name == "train_images":
                    seen = seen + datasets.histogram(batch)
                bar.update(len(batch))
            told = labels[f"{name.removesuffix('images')}labels"]
            seal.begin(told.dtype, tuple(told.shape))
            seal.update(told.numpy().data)
        mean, std = statistics(options, arrays, seen)
        digest = provenance.digest(seal.hexdigest(), mean, std, arrays.class_names)
        metadata |= {"mean": mean, "std": std, "fingerprint": digest}
    seconds = time.monotonic() - started
    log.info("%s: %d images in %.1f s, processes: %d", options, total, seconds, processes)


def statistics(
    options: Options, arrays: Arrays, seen: Tensor
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation: as they are given, else published, else those of the images.

    Images that hardly differ are warned of.

    Args:
        seen: the histogram of the training images.
    """
    if options.path is not None:
        values = torch.arange(256)
        for channel, numbers in enumerate(seen):
            if len(found := values[numbers > 0]) == 1:
                log.warning(
                    "%s: channel %d of all training images is %d everywhere: is the picture in "
                    "another one, or in the transparency? (background)",
                    options, channel, int(found),
                )  # fmt: skip
        if 0 < (brightest := int(values[seen.sum(0) > 0].max())) < _DARK:
            log.warning(
                "%s: the brightest training pixel is %d of 255; of files with more bits than they "
                "use, %s",
                options, brightest, "`values: [black, white]` tells what is white"
                if options.source == "folder" else "scale the numbers: white is 255, or 1.0",
            )  # fmt: skip
    mean, std = options.mean or arrays.mean, options.std or arrays.std
    if mean is None or std is None:
        computed = datasets.statistics_of(seen)
        mean, std = mean or computed[0], std or computed[1]
    return mean, std


def _parts(images: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _BATCH_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        yield images[start : start + step]
