"""Sets in the files that other people's code reads."""

import dataclasses
import io
import re
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dclib import files
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError


def export(made: SyntheticSet, path: Path) -> None:
    """Write a set; the ending of `path` says how.

    - `.pt`: as the authors of DC, DSA and DM do, a dictionary with `data`, a list of [images,
      labels], and `accs_all_exps`; normalised.
    - `images_best.pt`: the tensor of images by itself, as MTT, DD-Ranking and DC-BENCH read it, and
      the labels as `labels_best.pt` beside it; normalised. So with any name with `images` in it.
    - `.npz`: `images` [n, height, width, channels], normalised, and `labels`.
    - `.zip`, or no ending for a folder: a PNG an image, in a folder for each class; rounded to 256
      levels, and clipped.

    Normalised means by the set's own mean and std, which are those of its data set here. On
    CIFAR100, MTT and DD-Ranking have others (docs/data.md).

    Small images in one are exported as networks see them, each by itself. All files load with
    `torch.load(..., weights_only=True)`, or without pickle.

    Raises:
        InputError: another ending, a file or folder cannot be written, or a folder is not empty.
    """
    made = made.decoded()
    images, labels = made.images.detach().cpu().float(), made.labels.detach().cpu()
    made = dataclasses.replace(
        made,
        images=images.clone(memory_format=torch.contiguous_format),  # no more than that is written
        labels=labels.float() if labels.is_floating_point() else labels.clone(),
    )
    if path.suffix == ".pt" and "images" in path.name:
        before, _, after = path.name.rpartition("images")
        _save(path, made.images)
        _save(path.with_name(f"{before}labels{after}"), made.labels)
        rate = path.with_name(f"{before}lr{after}")
        if "lr" in made.parameters:
            _save(rate, made.parameters["lr"].cpu())
        else:
            rate.unlink(missing_ok=True)  # of a set that was exported before
    elif path.suffix == ".pt":
        _save(path, {"data": [[made.images, made.labels]], "accs_all_exps": {}})
    elif path.suffix == ".npz":
        last = made.images.permute(0, 2, 3, 1).contiguous().numpy()
        with files.atomic(path) as part, part.open("wb") as stream:
            np.savez(stream, images=last, labels=made.labels.numpy())
    elif path.suffix == ".zip":
        with files.atomic(path) as part, zipfile.ZipFile(part, "w") as archive:
            for name, picture in _pictures(made):
                # The same bytes whenever it is written.
                archive.writestr(zipfile.ZipInfo(name), picture)
    elif not path.suffix:
        try:
            if path.exists() and any(path.iterdir()):
                raise InputError(f"{path}: has files already; allowed is a new or an empty folder")
            for name, picture in _pictures(made):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(picture)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    else:
        raise InputError(
            f"{path}: sets are exported to .pt, images_*.pt, .npz, .zip, or a folder, and not to "
            f"'{path.suffix}'"
        )


def _save(path: Path, content: object) -> None:
    with files.atomic(path) as part, part.open("wb") as stream:
        torch.save(content, stream)


def _pictures(made: SyntheticSet) -> list[tuple[str, bytes]]:
    """Every image as a PNG, and its name with the folder of its class.

    The folder is called as the class is, where all of their names can be. Of labels that are
    probabilities, the likeliest class counts.
    """
    labels = made.labels.argmax(1) if made.labels.is_floating_point() else made.labels
    names = [*made.metadata["class_names"]]
    plain = all(re.fullmatch("[A-Za-z0-9][A-Za-z0-9 _-]{0,80}", name) for name in names)
    if not plain or len({name.lower() for name in names}) < len(names):
        names = [f"class{label:03d}" for label in range(len(names))]
    levels = (made.pixels() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    written = []
    for i, (image, label) in enumerate(zip(levels, labels.tolist(), strict=True)):
        stream = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(stream, "PNG")
        written.append((f"{names[label]}/{i:05d}.png", stream.getvalue()))
    return written
