"""The files in which others publish condensed sets. Nothing in them is unpickled but tensors.

- A dictionary with `data`, a list of [images, labels], and perhaps `accs_all_exps`: the authors of
  DC, DSA and DM. Normalised.
- A list of images and labels: IDC, DREAM, NCFM. Pixels from 0 to 1.
- A tensor of images, with labels, and perhaps a learning rate, in files beside it, whose names say
  `labels` and `lr` where its own says `images`: MTT, FTD, DATM, DataDAM, DC-BENCH.
- An .npz with `images` [n, height, width, channels] and `labels`: KIP.
- A folder of pictures, one folder a class: SRe2L, RDED. Pixels.
- Our own safetensors.
"""

import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dclib.data.pictures import pixels
from dclib.data.sources.settings import Options
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError, one_line
from dclib.methods.imported import places
from dclib.tensors import described, is_dense

# What the authors' accuracies are made of, which numpy pickles so; none of it does anything.
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
_HARMLESS = [
    _SCALAR,
    (_SCALAR, "numpy.core.multiarray.scalar"),
    np.dtype,
    type(np.dtype("float64")),
]


@dataclasses.dataclass(frozen=True)
class Found:
    """A set as a file has it.

    Attributes:
        labels: class indices, numbers of every class, or None.
        space: that files of this kind have; None where they differ.
        class_names: those that the file says, in the order of the labels.
        accuracies: fractions that the authors have measured, by the name of the network.
        ready: the set itself, where it is one of ours.
    """

    images: Tensor
    labels: Tensor | None
    space: str | None = None
    lr: float | None = None
    class_names: Sequence[str] | None = None
    accuracies: Mapping[str, Sequence[float]] = dataclasses.field(default_factory=dict)
    ready: SyntheticSet | None = None


def read(path: Path) -> tuple[str, list[Found]]:
    """Return what kind of file it is, for messages, and the sets in it.

    Raises:
        InputError: it is none of the known kinds, or cannot be read.
    """
    try:
        if path.is_dir():
            return "a folder of pictures", [_folder(path)]
        if path.suffix == ".safetensors":
            made = SyntheticSet.load(path)
            seen = made.decoded()
            return "a set of ours", [Found(seen.images, seen.labels, ready=made)]
        if path.suffix == ".npz":
            return "an .npz", [_npz(path)]
        return _torch(path, _loaded(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _loaded(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of damaged bytes, of many kinds
        # PyTorch's own words tell how to load what is not safe.
        strange = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f" (it holds a {strange[1]})" if strange else ""
        raise InputError(
            f"{path}: no file of PyTorch that holds tensors and numbers alone{why}"
        ) from error


def _torch(path: Path, content: Any) -> tuple[str, list[Found]]:
    if isinstance(content, Mapping) and "data" in content:
        accuracies, told = {}, content.get("accs_all_exps")
        for name, values in told.items() if isinstance(told, Mapping) else ():
            with contextlib.suppress(TypeError, ValueError):
                accuracies[str(name)] = [float(v) for v in np.ravel(values).tolist()]
        pairs = content["data"]
        if not isinstance(pairs, list | tuple) or not pairs:
            raise InputError(f"{path}: holds no pairs of images and labels")
        sets = [_pair(path, pair) for pair in pairs]
        return "a file of DC, DSA or DM", [
            Found(images, labels, "normalised", accuracies=_part(accuracies, i, len(sets)))
            for i, (images, labels) in enumerate(sets)
        ]
    if isinstance(content, list | tuple):
        return "a list of images and labels", [Found(*_pair(path, content), "pixels")]
    if isinstance(content, Tensor):
        beside = {name: _loaded(p) for name, p in places.beside(path).items() if p.exists()}
        images, labels = _pair(path, [content, beside.get("labels")])
        rate = _rate(beside["lr"]) if "lr" in beside else None
        return "a tensor of images", [Found(images, labels, None, rate)]
    keys = f" with {', '.join(map(str, content))}" if isinstance(content, Mapping) else ""
    raise InputError(
        f"{path}: holds a {type(content).__name__}{keys}; known are a dictionary with 'data', a "
        "list of images and labels, and a tensor of images"
    )


def _rate(lr: Any) -> float:
    """The learning rate of a file of one, or of some of which the first counts; NaN for none."""
    try:
        return float(torch.as_tensor(lr).reshape(-1)[0])
    except (TypeError, ValueError, IndexError, RuntimeError):
        return math.nan


def _part(accuracies: Mapping[str, list[float]], index: int, count: int) -> dict[str, list[float]]:
    """The accuracies of one of several sets, which follow each other."""
    found = {}
    for name, values in accuracies.items():
        each, rest = divmod(len(values), count)
        found[name] = values if rest else values[index * each : (index + 1) * each]
    return found


def _pair(path: Path, pair: Any) -> tuple[Tensor, Tensor | None]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise InputError(f"{path}: holds no pairs of images and labels")
    images, labels = pair
    if not is_dense(images) or images.ndim != 4 or not images.numel():
        raise InputError(
            f"{path}: its images are {described(images)}, not [n, channels, height, width]"
        )
    if labels is not None and (not is_dense(labels) or labels.ndim not in (1, 2)):
        raise InputError(f"{path}: its labels are {described(labels)}, not [n] or [n, classes]")
    if labels is not None and len(labels) != len(images):
        raise InputError(f"{path}: {len(images)} images and {len(labels)} labels")
    return images.detach().float(), None if labels is None else labels.detach()


def _npz(path: Path) -> Found:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name in ("images", "labels")}
    except OSError:
        raise
    except Exception as error:  # zipfile and numpy raise many kinds
        raise InputError(f"{path}: no .npz of numbers alone ({one_line(error)})") from error
    if "images" not in arrays or arrays["images"].ndim != 4:
        raise InputError(f"{path}: has no images [n, height, width, channels]")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise InputError(f"{path}: its {name} are {array.dtype}; allowed are numbers")
    images = torch.from_numpy(arrays["images"].astype(np.float32)).permute(0, 3, 1, 2)
    labels = arrays.get("labels")
    if labels is not None:
        labels = torch.from_numpy(labels.astype("f4" if labels.dtype.kind == "f" else "i8"))
    return Found(*_pair(path, [images.contiguous(), labels]))


def _folder(path: Path) -> Found:
    images, names, options = [], [], Options(name="pictures")
    for name, file in places.pictures(path):
        try:
            shown = pixels(options, str(file), "RGB")
        except InputError as error:
            raise InputError(str(error).removeprefix(f"{options}: ")) from error
        images.append(torch.from_numpy(shown.copy()) / 255)
        names.append(name)
    if not images:
        raise InputError(f"{path}: has no folders with pictures in them, one a class")
    if len({tuple(image.shape) for image in images}) > 1:
        raise InputError(f"{path}: its pictures are not all of one size")
    classes = sorted(set(names), key=_natural)
    labels = torch.tensor([classes.index(name) for name in names])
    stacked = torch.stack(images)
    grey = bool((stacked == stacked[:, :1]).all())  # as many programs write them, too
    return Found(stacked[:, :1] if grey else stacked, labels, "pixels", class_names=classes)


def _natural(name: str) -> list[tuple[int, str]]:
    """What puts class2 before class10."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]
