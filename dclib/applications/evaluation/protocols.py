"""Named ways to train and test, so that accuracies are compared only with their like.

A protocol is settings of the evaluation, and what differs for some data sets and networks. The
name of a data set stands for its source, whatever a configuration calls it.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from dclib import conditions
from dclib.data.published import CHARACTERS
from dclib.training.kinds import KINDS

DEFAULT = "dc"
OWN = "own"  # that of the method's authors, see `dclib.methods.Face`

_SIAMESE = [*KINDS["dsa"]]
_LIKE_MNIST = {"epochs": 1000, "augmentation": ["crop", "scale", "rotate"]}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A way to train and test.

    Attributes:
        meaning: what it is, and where it is from.
        settings: those that differ from the defaults of the evaluation.
        where: by conditions, as overrides of a configuration are, those that differ there.
    """

    meaning: str
    settings: Mapping[str, Any]
    where: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


def _without_flip(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What differs for digits and letters, which are no longer themselves in a mirror."""
    kinds = [kind for kind in settings["augmentation"] if kind != "flip"]
    return {f"dataset={name}": {"augmentation": kinds} for name in CHARACTERS}


def _unmixed(where: Mapping[str, dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    """What differs, and of a data set that nothing is mixed either."""
    place = f"dataset={name}"
    return {**where, place: {**where.get(place, {}), "cutmix": 0.0}}


_DSA = {"epochs": 1000, "augmentation_way": "dsa", "augmentation": _SIAMESE}
# Where MTT whitens; and the whole training set, which stands beside most of these.
_WHITENED = (
    "CIFAR10 ipc=1",
    "CIFAR10 ipc=10",
    "CIFAR10 ipc=all",
    "CIFAR100 ipc=1",
    "CIFAR100 ipc=50",
    "CIFAR100 ipc=all",
)
_IDC = {
    "epochs": 1000, "batch": 64, "lr_drops": [2 / 3, 5 / 6], "lr_drop_factor": 0.2,
    "restart_momentum": False, "augmentation_way": "idc", "cutmix": 0.5,
    "augmentation": [kind for kind in _SIAMESE if kind != "cutout"],
}  # fmt: skip
_BENCH = {"models": 5, "augmentation_way": "dcbench", "epochs": 1000}

PROTOCOLS: Mapping[str, Protocol] = {
    "dc": Protocol(
        "of DC (Zhao et al. 2021): 300 epochs; on MNIST, and with AlexCifarNet on CIFAR10 at ipc "
        "10, 1000 epochs with crop, scale and rotate; with BatchNorm 1000 with crop and noise",
        {},
        {
            "dataset=MNIST": _LIKE_MNIST,
            "dataset=CIFAR10 tested=AlexCifarNet ipc=10": _LIKE_MNIST,
            "tested=ConvNet-batchnorm": {"epochs": 1000, "augmentation": ["crop", "noise"]},
        },
    ),
    "dsa": Protocol(
        "of DSA (Zhao and Bilen 2021): 1000 epochs with differentiable siamese augmentation, "
        "without flip on digits and letters",
        _DSA,
        _without_flip(_DSA),
    ),
    "idc": Protocol(
        "of IDC (Kim et al. 2022): 1000 epochs of batches of 64 with its augmentation, without "
        "flip on digits and letters, and CutMix, but on MNIST; the rate a fifth after two thirds "
        "and after five sixths. So its authors test sets of factor 2; with factor 1 they mix on "
        "MNIST too, and at ipc 1 not on SVHN",
        _IDC,
        _unmixed(_without_flip(_IDC), "MNIST"),
    ),
    "mtt": Protocol(
        "of MTT (Cazenavette et al. 2022): as dsa, with the learning rate that the set brings, and "
        "on whitened images where the authors do so: of CIFAR10 at ipc 1 and 10, CIFAR100 at 1 and "
        "50, and of both as a whole",
        {**_DSA, "own_lr": True},
        _without_flip(_DSA) | {f"dataset={where}": {"space": "whitened"} for where in _WHITENED},
    ),
    "dd": Protocol(
        "of DD (Wang et al. 2018): by the steps and learning rates that the set was learnt for",
        {"recipe": "own"},
    ),
    "dcbench-none": Protocol(
        "of DC-BENCH (Cui et al. 2022), without augmentation: 5 networks, 300 epochs",
        {"models": 5},
    ),
    "dcbench-dsa": Protocol(
        "of DC-BENCH, with differentiable siamese augmentation: 5 networks, 1000 epochs",
        {**_DSA, "models": 5},
        _without_flip(_DSA),
    ),
    **{
        f"dcbench-{kind}": Protocol(
            f"of DC-BENCH, with its augmentation {kind}: 5 networks, 1000 epochs",
            {**_BENCH, "augmentation": [kind]},
        )
        for kind in KINDS["dcbench"]
    },
}  # fmt: skip
GROUPS: Mapping[str, tuple[str, ...]] = {
    "dcbench": tuple(name for name in PROTOCOLS if name.startswith("dcbench-"))
}


def expanded(name: str, own: tuple[str, ...]) -> tuple[str, ...]:
    """Return the protocols that a name in a configuration stands for.

    Args:
        own: those of the method's authors.
    """
    return GROUPS.get(name, own if name == OWN else (name,))


def parts(name: str, point: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return the settings of a protocol at a point, and what each part of them is called.

    A later part wins: those with more conditions come after those with fewer.

    Args:
        point: `dataset` (its source), `tested` and `ipc`, at least.
    """
    yield f"like {name}", PROTOCOLS[name].settings
    for key, told in conditions.applying(PROTOCOLS[name].where, point):
        yield f"like {name} {key}", told
