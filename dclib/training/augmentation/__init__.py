"""Random augmentation of batches; one module for each author's way.

A way is called what its module is called, and the module has `draw(n, batch, kinds, generator)`,
which returns what `transform(images, ...)` takes of `n` images that come in batches, everything
with a row for each image. If it says `PIXELS`, `transform` works on pixels, wants the data set as
well, and no GPU can record it. Which kinds a way has stands in `dclib.training.kinds`, which needs
no PyTorch.
"""

import importlib
from types import ModuleType


def way(name: str) -> ModuleType:
    """Return the module of a way to augment; one of `dclib.training.kinds.WAYS`."""
    return importlib.import_module(f"{__name__}.{name}")
