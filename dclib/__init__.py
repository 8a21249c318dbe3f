"""Dataset condensation: a few synthetic images per class that train networks like the whole set.

Follows Zhao, Mopuri, Bilen, *Dataset Condensation with Gradient Matching* (ICLR 2021).
The package is useful without the pipeline around it (`dclib.pipeline`), and never imports it.

    data = dclib.read("digits")
    made = dclib.condense(data, "dc", ipc=1, iterations=50)
    print(dclib.evaluate(made, data, models=5))

All of it is in `dclib.face`, and imported when it is first asked for.
"""

import importlib
import os
from typing import Any

# OpenMP's threads sleep while they wait. On cores that are busy, threads that spin hold up those
# that work: a step takes several times as long. It has to be said before PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.3.0"
# Said here as well, since a name that is none of them may be a module, which needs no PyTorch.
__all__ = [
    "ImageDataset",
    "InputError",
    "Results",
    "SyntheticSet",
    "condense",
    "evaluate",
    "load",
    "load_set",
    "read",
]


def __getattr__(name: str) -> Any:
    """Return what `dclib.face` has of this name.

    The digest of a job's code does not follow it there: no job depends on all methods.
    """
    if name in __all__:
        return getattr(importlib.import_module("dclib.face"), name)
    raise AttributeError(f"module 'dclib' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
