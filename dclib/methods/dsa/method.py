"""Gradient matching of images that are augmented alike (Zhao and Bilen, ICML 2021, Algorithm 1).

It is `dc` with other settings: see `dclib.methods.dsa.settings`.
"""

from dclib.methods.dc.method import GradientMatching

create = GradientMatching
