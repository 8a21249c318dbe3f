"""Dataset condensation: a few synthetic images per class that train networks like the whole set.

Follows Zhao, Mopuri, Bilen, *Dataset Condensation with Gradient Matching* (ICLR 2021).
The package is useful without the pipeline around it (`dclib.pipeline`), and never imports it.
"""

import os
from pathlib import Path
from typing import Any

# OpenMP's threads sleep while they wait. On cores that are busy, threads that spin hold up those
# that work: a step takes several times as long. It has to be said before PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"


def load(path: str | Path) -> Any:
    """Return the images and labels of a condensed set as a `torch.utils.data.TensorDataset`.

    Args:
        path: of a file of ours, whose images are normalised as its metadata say, or of any that
            `dclib.methods.imported.formats` knows, as it has them; the first set in it.

    Raises:
        InputError: it is none of these.
    """
    from torch.utils.data import TensorDataset

    from dclib.errors import InputError
    from dclib.methods.imported import formats

    _, (first, *_) = formats.read(Path(path))
    if first.labels is None:
        raise InputError(f"{path}: has no labels beside it")
    return TensorDataset(first.images, first.labels)
