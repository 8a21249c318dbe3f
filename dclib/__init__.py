"""Dataset condensation: a few synthetic images per class that train networks like the whole set.

Follows Zhao, Mopuri, Bilen, *Dataset Condensation with Gradient Matching* (ICLR 2021).
The package is useful without the pipeline around it (`dclib.pipeline`), and never imports it.
"""

import os

# OpenMP's threads sleep while they wait. On cores that are busy, threads that spin hold up those
# that work: a step takes several times as long. It has to be said before PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.2.0"
