"""Squares, discs and crosses, drawn at random places in random shades of grey.

The example of CONTRIBUTING: as `dclib/data/sources/shapes.py` it is the data set `shapes`.
"""

from pathlib import Path

import numpy as np

from dclib.data.checks import Arrays, Facts
from dclib.data.sources.settings import Options

CLASSES = ("square", "disc", "cross")
TRAIN, TEST, SIZE = 40, 20, 16  # images of a class, pixels


def look(options: Options) -> Facts:
    return Facts(channels=1, image_size=(SIZE, SIZE), smallest_class=TRAIN)


def read(options: Options, data_dir: str | Path | None) -> Arrays:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(CLASSES)), TRAIN + TEST)
    images = np.stack([_drawn(rng, CLASSES[label]) for label in labels])[:, None]
    test = np.arange(len(labels)) % (TRAIN + TEST) >= TRAIN
    return Arrays(images[~test], labels[~test], images[test], labels[test], CLASSES)


def _drawn(rng: np.random.Generator, shape: str) -> np.ndarray:
    rows, columns = np.indices((SIZE, SIZE)) - rng.integers(5, SIZE - 5, size=(2, 1, 1))
    radius = rng.uniform(3, 5)
    inside = {
        "square": np.maximum(abs(rows), abs(columns)) < radius,
        "disc": rows**2 + columns**2 < radius**2,
        "cross": (np.minimum(abs(rows), abs(columns)) < 1) & (abs(rows) + abs(columns) < radius),
    }[shape]
    return np.where(inside, rng.integers(128, 256), rng.integers(64)).astype(np.uint8)
