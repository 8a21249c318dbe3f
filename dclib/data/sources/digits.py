"""Scikit-learn's 1,797 8x8 digits; of each class, in file order, every fifth is for testing."""

from pathlib import Path

import numpy as np

from dclib.data.checks import Arrays, Facts
from dclib.data.choice import Counts
from dclib.data.sources.settings import Options

COUNTS = Counts([str(c) for c in range(10)], [143, 146, 142, 147, 145, 146, 145, 144, 140, 144])


def look(options: Options) -> Facts:
    return Facts(channels=1, image_size=(8, 8), smallest_class=min(COUNTS.train))


def counts(options: Options) -> Counts:
    return COUNTS


def read(options: Options, data_dir: str | Path | None) -> Arrays:
    from sklearn.datasets import load_digits  # takes a second, which a plan does without

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = digits.target
    test = np.zeros(len(labels), dtype=bool)
    for c in range(10):
        test[np.flatnonzero(labels == c)[4::5]] = True
    return Arrays(images[~test], labels[~test], images[test], labels[test], COUNTS.class_names)
