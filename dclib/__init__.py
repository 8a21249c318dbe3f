"""Dataset condensation: a few synthetic images per class that train networks like the whole set.

Follows Zhao, Mopuri, Bilen, *Dataset Condensation with Gradient Matching* (ICLR 2021).
The package is useful without the pipeline around it (`dclib.pipeline`), and never imports it.
"""

__version__ = "0.2.0"
