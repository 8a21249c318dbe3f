"""The settings of `dsa`, and what planning has to know of it."""

from typing import Literal

from dclib.data.published import CHARACTERS
from dclib.fields import settings
from dclib.methods import Face, formation
from dclib.methods.dc import settings as dc
from dclib.training.kinds import NO_FLIP, SIAMESE, Siamese


@settings
class Settings(dc.Settings):
    """Gradient matching with siamese augmentation; the defaults are the paper's for a ConvNet."""

    initialisation: Literal["noise", "real"] = "real"
    """what images start as: standard normal noise, or random training images"""
    augmentation: Siamese = SIAMESE
    """kinds of which one is drawn, for the real and the synthetic images of a class alike, and for
    every batch of the network's training; without flip on digits and letters, unless it is said
    here"""


WHERE = {
    **dc.WHERE,
    **{f"dataset={name}": {"augmentation": [*NO_FLIP]} for name in CHARACTERS},
    # What the authors say of their 66.7 %, which the law of the others does not give.
    "dataset=CIFAR10 ipc=100": {"inner_epochs": 2},
}

FACE = Face(
    Settings,
    "learnt",
    grows=dc.GROWS,
    protocol="dsa",
    where=WHERE,
    fault=formation.fault,
    relevant=dc.relevant,
    peak_bytes=dc.peak_bytes,
)
