"""The settings of `dc`, and what planning has to know of it."""

import dataclasses
from typing import Any, Literal

from dclib import footprint
from dclib.fields import Count, Momentum, Precision, Rate, settings
from dclib.methods import Face, formation
from dclib.methods.formation import Formation
from dclib.networks.names import Spec
from dclib.training.kinds import Siamese

Distance = Literal["ours", "mse", "cos", "l1"]
Engine = Literal["auto", "by_class", "batched"]

GROWS = ("iterations",)
WHERE: dict[str, dict[str, Any]] = {"network=MLP": {"lr_img": 0.01}}

# Outer steps and inner epochs by images per class, as the authors chose them.
_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


@settings
class Settings(Formation):
    """Gradient matching; the defaults are the paper's for a ConvNet."""

    iterations: Count = 1000
    """freshly initialised networks, K in the paper"""
    outer_steps: Count | None = None
    """matching steps for each network, T in the paper; null for the authors' (ipc 1: 1, 10: 10, 50:
    50), and at an ipc that they leave open as many as that (15: 15)"""
    inner_epochs: Count | None = None
    """epochs of training between two matching steps; null for the authors' (ipc 1: 1, 10: 50, 50:
    10), and at an ipc that they leave open 500 divided by it (15: 33)"""
    real_batch: Count = 256
    """real images per class in a matching step"""
    batchnorm_batch: Count = 16
    """real images per class for BatchNorm's statistics"""
    initialisation: Literal["noise", "real"] = "noise"
    """what images start as: standard normal noise, or random training images"""
    lr_img: Rate = 0.1
    """learning rate of the images; for an MLP 0.01 unless it is said"""
    momentum_img: Momentum = 0.5
    """momentum of the images"""
    lr_net: Rate = 0.01
    """learning rate of the network"""
    batch_net: Count = 256
    """batch size of the network's training"""
    distance: Distance = "ours"
    """distance of two sets of gradients: the paper's, squared differences, one cosine, or absolute
    differences"""
    augmentation: Siamese = ()
    """kinds of which one is drawn, for the real and the synthetic images of a class alike, and for
    every batch of the network's training (see dsa)"""
    precision: Precision = "tf32"
    """of convolutions; tf32 means fp32 where there is no GPU that has it; bf16 in bfloat16"""
    engine: Engine = "auto"
    """how synthetic images are matched, classes side by side or one by one; auto: batched on a
    GPU, by_class on a CPU"""

    def loops(self, ipc: int) -> tuple[int, int]:
        """Return outer steps and inner epochs for `ipc` images per class.

        The authors define them for 1, 10, 20, 30, 40 and 50; for every other ipc the same law is
        followed: as many outer steps as images, and 500 inner epochs divided by them.
        """
        outer, inner = _LOOPS.get(ipc, (ipc, max(1, round(500 / ipc))))
        return self.outer_steps or outer, self.inner_epochs or inner


def relevant(settings: Settings, network: Spec, ipc: int) -> dict[str, Any]:
    """Return the settings that can touch the set: with one outer step no network is trained."""
    outer, inner = settings.loops(ipc)
    resolved = {**dataclasses.asdict(settings), "outer_steps": outer, "inner_epochs": inner}
    idle = {"inner_epochs", "lr_net", "batch_net"} if outer == 1 else set()
    if not network.batchnorm:
        idle.add("batchnorm_batch")
    return {key: value for key, value in resolved.items() if key not in idle}


def peak_bytes(
    settings: Settings, activation_bytes: int, parameters: int, classes: int, ipc: int
) -> int:
    """Return the bytes that an iteration takes at its peak."""
    real = min(classes * settings.real_batch, footprint.passing(activation_bytes))
    ipc *= settings.factor**2
    matching = footprint.FIRST_ORDER * real + footprint.SECOND_ORDER * ipc
    training = footprint.FIRST_ORDER * min(settings.batch_net, classes * ipc)
    return int(activation_bytes * max(matching, training))


FACE = Face(
    Settings,
    "learnt",
    grows=GROWS,
    where=WHERE,
    fault=formation.fault,
    relevant=relevant,
    peak_bytes=peak_bytes,
)
