"""A condensed or selected set of images: the tensors, what made them, and its file."""

import contextlib
import dataclasses
import io
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dclib import arguments, files
from dclib.data import checks, tiles
from dclib.data.datasets import ImageDataset, channel_statistics, require_described
from dclib.errors import InputError, did_you_mean
from dclib.tensors import described, fingerprint, is_dense, read_tensors, unsealed, write_sealed

_KIND = "a set of images"
_LARGE, _LARGEST = 2**23, 2**25  # pixels of a picture that is written in a second, in a few

Labels = Int64[Tensor, " n"] | Float[Tensor, "n classes"]


@dataclasses.dataclass(frozen=True)
class SyntheticSet:
    """A few labelled images per class, in normalised space, and how to train on them.

    Attributes:
        images: class by class, `ipc` images each.
        labels: class indices, or the probability of every class.
        metadata: at least `mean`, `std` and `class_names`; files that the pipeline writes also name
            dataset, method, network, ipc, seed, settings and versions.
        recipe: how a network is trained on the images, a module of `dclib.training.recipes`.
        parameters: what the recipe takes, as the learning rates of its steps; with any recipe,
            `factor`: the images hold factor x factor small ones each (`dclib.data.tiles`).
    """

    images: Float[Tensor, "n channels height width"]
    labels: Labels
    metadata: Mapping[str, Any]
    recipe: str = "ordinary"
    parameters: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    @classmethod
    def like(
        cls,
        data: ImageDataset,
        images: Float[Tensor, "n channels height width"],
        labels: Labels,
        recipe: str = "ordinary",
        parameters: Mapping[str, Tensor] | None = None,
        **metadata: Any,
    ) -> "SyntheticSet":
        """Return a set with the statistics and classes of `data`."""
        own = {"mean": data.mean, "std": data.std, "class_names": data.class_names}
        return cls(images, labels, {**own, **metadata}, recipe, parameters or {})

    def with_metadata(self, **metadata: Any) -> "SyntheticSet":
        """Return the same set with `metadata` added."""
        return dataclasses.replace(self, metadata={**self.metadata, **metadata})

    @property
    def factor(self) -> int:
        """How many small images there are in one, along each side."""
        return int(self.parameters.get("factor", 1))

    def decoded(self) -> "SyntheticSet":
        """Return the images as networks see them, without `factor`."""
        if "factor" not in self.parameters:
            return self
        around = (0.5 - self._statistics()[0]) / self._statistics()[1]
        return dataclasses.replace(
            self,
            images=tiles.decode(self.images, self.factor, around),
            labels=tiles.seen(self.labels, self.factor),
            parameters={k: value for k, value in self.parameters.items() if k != "factor"},
        )

    @property
    def fingerprint(self) -> str:
        """A digest of the tensors and the recipe."""
        parameters = [self.parameters[name] for name in sorted(self.parameters)]
        return f"{self.recipe} {fingerprint(self.images, self.labels, *parameters)}"

    def check(self, what: str) -> None:
        """Refuse numbers that nothing can be learnt from.

        Args:
            what: the set, for messages.

        Raises:
            InputError: there are no images, or none that can be de-normalised and named by the
                metadata; an image or a parameter of the recipe is no floating-point number or not
                finite; or there is not, for every image, one class of the set or the probability
                of each.
        """
        self._check_types(what)
        floats = {"images": self.images.float()}
        floats |= {name: parameter.float() for name, parameter in self.parameters.items()}
        labels = self.labels
        if labels.is_floating_point():
            labels = floats["labels"] = labels.float()
        for name, tensor in floats.items():
            if not tensor.isfinite().all():
                fault = "NaN" if tensor.isnan().any() else "infinite"
                raise InputError(
                    f"{what}: its {name} are not all finite, there are {fault} numbers"
                )
        factor = self.parameters.get("factor", torch.ones(1))
        if factor.numel() != 1 or factor != factor.round() or factor < 1 or not self._holds():
            raise InputError(
                f"{what}: its factor is {factor.tolist()}; allowed is a whole number from 1 that "
                f"leaves images in its images of {self.images.shape[-2]}x{self.images.shape[-1]}"
            )
        classes = len(self.metadata["class_names"])
        if not labels.is_floating_point():
            if not ((labels >= 0) & (labels < classes)).all():
                raise InputError(f"{what}: its labels are not from 0 to {classes - 1}")
        elif not ((labels >= 0).all() and ((labels.sum(1) - 1).abs() < 1e-3).all()):
            raise InputError(
                f"{what}: its labels are no probabilities; allowed are numbers from 0, one for "
                f"each of its {classes} classes, that sum to 1 for every image"
            )

    def _check_types(self, what: str) -> None:
        arguments.instance(f"{what}: its metadata", self.metadata, Mapping, "a mapping")
        arguments.instance(f"{what}: its parameters", self.parameters, Mapping, "a mapping")
        for name, tensor in {"images": self.images, **self.parameters}.items():
            if not is_dense(tensor) or not tensor.is_floating_point():
                raise InputError(
                    f"{what}: not {_KIND}, its {name} are {described(tensor)}; allowed is "
                    "torch.float32"
                )
            if not isinstance(name, str):
                raise InputError(f"{what}: a parameter is called {name!r}; allowed is a text")
        if taken := self.parameters.keys() & {"images", "labels"}:
            raise InputError(f"{what}: a parameter cannot be called '{min(taken)}'")
        if not isinstance(self.recipe, str) or not re.fullmatch("[a-z][a-z0-9_]*", self.recipe):
            raise InputError(
                f"{what}: not {_KIND}, its recipe is {arguments.told(self.recipe)}; allowed is the "
                "name of a module of dclib.training.recipes"
            )
        images = {"images": self.images.float()}
        types = {"images": (torch.float32, 4)}
        require_described(f"{what}: not {_KIND}", images, self.metadata, types)
        if not self.images.numel():
            raise InputError(f"{what}: not {_KIND}, its images are {described(self.images)}: none")
        labels, count = self.labels, len(self.images)
        each = (count, len(self.metadata["class_names"]))
        hard = is_dense(labels) and labels.dtype == torch.int64 and labels.shape == each[:1]
        soft = is_dense(labels) and labels.is_floating_point() and labels.shape == each
        if not (hard or soft):
            raise InputError(
                f"{what}: not {_KIND}, its labels are {described(labels)}; allowed are int64, one "
                f"for each of its {count} images, or float32 {each}"
            )

    def _check_stored(self, what: str) -> None:
        """Refuse what a file of a set does not have."""
        self.check(what)
        classes = len(self.metadata["class_names"])
        ipc, rest = divmod(len(self.images), classes)
        ordered = not rest and torch.equal(self.labels.cpu(), class_labels(classes, ipc))
        if not self.labels.is_floating_point() and not ordered:
            raise InputError(
                f"{what}: not {_KIND}, its labels are not class by class; allowed are as many of "
                f"its {len(self.images)} images for each of the {classes} classes"
            )

    def fitted(self, data: ImageDataset) -> "SyntheticSet":
        """Return the set as networks for `data` are trained on it, in float32.

        Small images in one are enlarged, images are normalised by the statistics of `data` if they
        were by others, and labels stand for the classes in its order.

        Raises:
            InputError: images of another size or other channels, other classes, or numbers that are
                not finite.
        """
        self.check("the set")
        if self.images.shape[1:] != data.train_images.shape[1:]:
            raise InputError(
                f"the set has images of {tuple(self.images.shape[1:])}, data set '{data.name}' of "
                f"{tuple(data.train_images.shape[1:])} (channels, height, width)"
            )
        own, names = [*self.metadata["class_names"]], [*data.class_names]
        if unknown := [name for name in own if name not in names]:
            raise InputError(
                f"the set has class '{unknown[0]}', which is none of data set '{data.name}': "
                f"{', '.join(names)}{did_you_mean(unknown[0], names)}"
            )
        if own != names and (len(set(own)) < len(own) or len(own) < len(names)):
            raise InputError(
                f"the set has {len(set(own))} classes, data set '{data.name}' has {len(names)}"
            )
        seen = self.decoded()
        images, labels = seen.images, seen.labels
        if own != names:
            order = torch.tensor([own.index(name) for name in names], device=labels.device)
            labels = labels[:, order] if labels.is_floating_point() else order.argsort()[labels]
        mean, std = tuple(self.metadata["mean"]), tuple(self.metadata["std"])
        if (mean, std) != (data.mean, data.std):
            kind = images.dtype, images.device
            own_mean, own_std = channel_statistics(mean, std, *kind)
            mean_there, std_there = channel_statistics(data.mean, data.std, *kind)
            images = (images * own_std + own_mean - mean_there) / std_there
        labels = labels.float() if labels.is_floating_point() else labels
        made = {"mean": data.mean, "std": data.std, "class_names": data.class_names}
        return dataclasses.replace(seen, images=images.float(), labels=labels).with_metadata(**made)

    def pixels(self) -> Float[Tensor, "n channels height width"]:
        """Return the images de-normalised and clipped to [0, 1]."""
        return self._shown(self.images)

    def _shown(
        self, images: Float[Tensor, "some channels height width"]
    ) -> Float[Tensor, "some channels height width"]:
        mean, std = self._statistics()
        return (images.detach() * std + mean).clamp(0, 1)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        mean, std = (tuple(self.metadata[name]) for name in ("mean", "std"))
        return channel_statistics(mean, std, self.images.dtype, self.images.device)

    def _holds(self) -> bool:
        """Whether the images are large enough for the small ones in them."""
        return self.factor == 1 or checks.holds(self.images.shape[-2:], self.factor)

    def save(self, path: str | Path) -> None:
        """Write the set as float32 safetensors, with its metadata as JSON in the header.

        Args:
            path: of a file `.safetensors`; `export` writes others.

        Raises:
            InputError: see `check`; labels are not class by class, as many of each; the metadata
                are nothing that JSON can hold; or the file cannot be written.
        """
        path = arguments.path("path", path)
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: a set is saved as .safetensors; `export` writes other files")
        self._check_stored(str(path))
        for key, value in self.metadata.items():
            if not isinstance(key, str) or key in ("recipe", "fingerprint"):
                raise InputError(f"{path}: metadata of a set cannot be called {key!r}")
            same = False
            with contextlib.suppress(TypeError, ValueError):
                text = json.dumps(value, sort_keys=True)
                same = json.dumps(json.loads(text), sort_keys=True) == text
            if not same:
                raise InputError(f"{path}: its metadata '{key}' are nothing that JSON can hold")
        tensors = {"images": self.images, "labels": self.labels, **self.parameters}
        single = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
        single = {name: tensor.clone() for name, tensor in single.items()}  # none in one memory
        write_sealed(path, single, {**self.metadata, "recipe": self.recipe})

    def export(self, path: str | Path) -> None:
        """Write the set for other people's code: see `dclib.data.exports.export`."""
        from dclib.data import exports

        path = arguments.path("path", path)
        self.check(str(path))
        exports.export(self, path)

    def grid(
        self, padding: int = 1, classes: int | None = None, ipc: int | None = None
    ) -> Float[Tensor, "rows columns 3"]:
        """Return all images as one picture in [0, 1], a row for each class, with grey between.

        They are shown as networks see them. Of labels that are probabilities, the likeliest class
        counts.

        Args:
            padding: grey pixels between two images.
            classes: how many are shown at most; None for all.
            ipc: how many images of each are shown at most; None for all.

        Raises:
            InputError: see `check`; or one of them is no whole number, or too small.
        """
        self.check("the set")
        padding = arguments.whole("padding", padding, 0)
        for name, limit in (("classes", classes), ("ipc", ipc)):
            if limit is not None:
                arguments.whole(name, limit, 1)
        seen = self.decoded()
        count = len(self.metadata["class_names"][:classes])
        labels = seen.labels.argmax(1) if seen.labels.is_floating_point() else seen.labels
        places = [(labels == label).nonzero().flatten()[:ipc] for label in range(count)]
        shown = self._shown(seen.images[torch.cat(places)])
        images = functional.pad(shown, (0, padding, 0, padding), value=0.5)
        longest = max(len(place) for place in places)
        rows = images.new_full((count, longest, *images.shape[1:]), 0.5)
        for row, place in zip(rows, images.split([*map(len, places)]), strict=True):
            row[: len(place)] = place
        picture = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
        framed = functional.pad(picture, (0, 0, padding, 0, padding, 0), value=0.5)
        return framed.expand(-1, -1, 3)

    def save_png(self, path: str | Path) -> None:
        """Write the images as one picture, a row for each class, small ones enlarged.

        Of very many, the picture is not enlarged, and compressed less.

        Raises:
            InputError: see `check`; another ending than .png; or the file cannot be written.
        """
        path = arguments.path("path", path)
        if path.suffix.lower() != ".png":
            raise InputError(f"{path}: a picture is saved as .png")
        picture = self._picture()
        quick: dict[str, Any] = {"compress_level": 1} if math.prod(picture.size) > _LARGE else {}
        with files.atomic(path) as part:
            picture.save(part, **quick)

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows."""
        self._picture().save(shown := io.BytesIO(), "PNG")
        return shown.getvalue()

    def _picture(self) -> Image.Image:
        picture = (self.grid() * 255).round().to(torch.uint8).cpu().numpy()
        pixels = picture.shape[0] * picture.shape[1]
        scale = max(1, min(64 // self.images.shape[-1], int((_LARGEST / pixels) ** 0.5)))
        return Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))

    @classmethod
    def load(cls, path: str | Path) -> "SyntheticSet":
        """Return the set in a file that `save` wrote.

        Raises:
            Damaged: its content is not that of which the fingerprint was taken.
            InputError: the file is missing, truncated or not a set, or has numbers that are not
                finite.
        """
        tensors, metadata = read_tensors(arguments.path("path", path))
        if missing := [name for name in ("images", "labels") if name not in tensors]:
            raise InputError(f"{path}: not {_KIND}, it has no {missing[0]}")
        metadata = unsealed(path, tensors, metadata)
        images, labels = tensors.pop("images"), tensors.pop("labels")
        made = cls(images, labels, metadata, metadata.pop("recipe", None), tensors)
        made._check_stored(str(path))
        return made


def class_labels(num_classes: int, ipc: int) -> Int64[Tensor, " n"]:
    """Return the labels of a set with `ipc` images for each class, class by class."""
    return torch.arange(num_classes).repeat_interleave(ipc)
