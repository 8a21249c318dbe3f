"""The settings of `idc`, and what planning has to know of it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from dclib import footprint
from dclib.fields import Count, Decay, Momentum, Rate, settings
from dclib.methods import Face, formation
from dclib.methods.dc import settings as dc
from dclib.networks.names import Spec
from dclib.training.kinds import Siamese

_FROM_REAL = ("net_images", "net_augmentation", "cutmix", "momentum_net", "weight_decay_net")


@settings
class Settings(dc.Settings):
    """Several small images in one, matched on networks trained on real images; the defaults are
    the paper's for CIFAR10. Those of other data sets are named."""

    iterations: Count = 2000
    """freshly initialised networks; a tenth of them gets most of the accuracy"""
    outer_steps: Count = 100
    """matching steps for each network"""
    inner_epochs: Count = 1
    """passes over `net_images` real images between two matching steps"""
    real_batch: Count = 64
    """real images per class in a matching step"""
    synthetic_batch: Count = 128
    """most small images per class in a matching step; of more, random ones are taken"""
    initialisation: Literal["noise", "real"] = "real"
    """what images start as: standard normal noise, or random training images, with a factor shrunk
    and side by side"""
    factor: Count = 2
    """a stored image holds factor x factor small ones, which networks see enlarged; images per
    class counts stored ones (idc-i: 1)"""
    lr_img: Rate = 5e-3
    """learning rate of the images, whose pixels go from 0 to 1, for ten images per class; for
    others it is in proportion (MNIST, FashionMNIST: 1e-4)"""
    batch_net: Count = 64
    """batch size of the network's training"""
    momentum_net: Momentum = 0.9
    """momentum of the network"""
    weight_decay_net: Decay = 5e-4
    """weight decay of the network"""
    net_images: Count = 2000
    """random real images that the network is trained on between two matching steps (MNIST,
    FashionMNIST, SVHN: 500)"""
    net_augmentation: Siamese = ("color", "crop")
    """kinds for every image of that training"""
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.5
    """probability that a batch of that training is mixed by CutMix (MNIST: 0; as idc-i: 0.5)"""
    distance: dc.Distance = "mse"
    """distance of two sets of gradients, of all weights but the last layer's: squared or absolute
    differences (l1; MNIST, FashionMNIST), or one of dc's"""
    augmentation: Siamese = ("color", "crop", "cutout")
    """kinds for the real and the synthetic images of a class alike: of crop, scale and rotate one
    is drawn, the others are always applied (MNIST: color, crop; as idc-i: color, crop, cutout)"""

    def loops(self, ipc: int) -> tuple[int, int]:
        """Return matching steps, and passes of training between two of them."""
        return self.outer_steps, self.inner_epochs


def relevant(settings: Settings, network: Spec, ipc: int) -> dict[str, Any]:
    """Return the settings that can touch the set: with one step no network is trained."""
    idle = set(_FROM_REAL) if settings.outer_steps == 1 else set()
    if ipc * settings.factor**2 <= settings.synthetic_batch:
        idle.add("synthetic_batch")
    every = dc.relevant(settings, network, ipc)
    return {key: value for key, value in every.items() if key not in idle}


def peak_bytes(
    settings: Settings, activation_bytes: int, parameters: int, classes: int, ipc: int
) -> int:
    """Return the bytes that an iteration takes at its peak."""
    real = min(classes * settings.real_batch, footprint.passing(activation_bytes))
    synthetic = min(settings.synthetic_batch, ipc * settings.factor**2)
    passes = (
        footprint.FIRST_ORDER * real,
        footprint.SECOND_ORDER * synthetic,
        footprint.TRAINING * min(settings.batch_net, settings.net_images),
    )
    return int(activation_bytes * max(passes))


_GREY = {"distance": "l1", "lr_img": 1e-4, "net_images": 500}
FACE = Face(
    Settings,
    "learnt",
    grows=dc.GROWS,
    protocol="idc",
    where={
        "dataset=MNIST": {**_GREY, "augmentation": ["color", "crop"], "cutmix": 0.0},
        "dataset=FashionMNIST": _GREY,
        "dataset=SVHN": {"net_images": 500},
        # What the authors call IDC-I.
        "method=idc-i": {"factor": 1},
        "dataset=MNIST method=idc-i": {
            "augmentation": ["color", "crop", "cutout"],
            "cutmix": 0.5,
        },
    },
    fault=formation.fault,
    relevant=relevant,
    peak_bytes=peak_bytes,
)
