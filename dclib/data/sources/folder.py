"""A user's folder of images in train/CLASS/ and test/CLASS/; links are followed.

Splits may be written in any case, `val`, `valid` and `validation` are one, and where there is no
test split, or no split at all, the setting `test` says what is tested on. What begins with a dot,
and what systems and editors leave behind, is passed over.
"""

import itertools
import logging
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from dclib import arguments
from dclib.data import pictures
from dclib.data.checks import Arrays, Facts, check
from dclib.data.choice import Counts
from dclib.data.pictures import Pictures
from dclib.data.sources.settings import Options
from dclib.data.splits import held_out
from dclib.errors import InputError

log = logging.getLogger(__name__)

OPTIONS = ("values", "test")  # that no other source has

Listing = dict[str, dict[str, list[Path]]]  # the image files of every class of every split

_SPLITS = {"train": "train", "test": "test"} | dict.fromkeys(
    ("val", "valid", "validation"), "validation"
)
_NOBODYS = re.compile(
    r"\..*|__MACOSX|@eaDir|#recycle|@Recycle|\$RECYCLE\.BIN|System Volume Information|lost\+found"
    r"|Thumbs\.db|ehthumbs\.db|desktop\.ini|Icon\r",
    re.IGNORECASE | re.DOTALL,
)
_LOCKS = re.compile(r"~\$.*|#.*#|.*~", re.DOTALL)  # and backups: files of editors
_HIDDEN = "hidden or a system's"
# Of images that are not read; that some are there is worth a warning.
_IMAGE_LIKE = re.compile(
    r"\.(heic|heif|avif|gif|apng|jfif|jpe|jp2|j2k|jxl|jxr|svg|psd|xcf|ico|tga|pnm|pbm|pfm|pcx|exr|hdr"
    r"|dng|cr2|cr3|nef|arw|orf|raf|rw2|raw|dcm|dicom|nii|nrrd|mha|svs|npy|pdf|eps)|images .*|"
)


def look(options: Options) -> Facts:
    return _facts(options, _listing(options))


def counts(options: Options) -> Counts:
    listing = _listing(options)
    names = [*listing["train"]]
    own = listing.get("validation")
    return Counts(
        names,
        [len(paths) for paths in listing["train"].values()],
        None if own is None else [len(own.get(name, ())) for name in names],
    )


def read(options: Options, data_dir: str | Path | None) -> Arrays:
    listing, left = _found(options)
    _tell(options, left)
    return listed(options, listing)


def listed(options: Options, listing: Listing) -> Arrays:
    """Return the images of a listing, which are read when they are asked for."""
    modes: Counter[str] = Counter()
    facts = _facts(options, listing, modes)
    for mode in pictures.DEEP.keys() & modes.keys():
        black, white = options.values or pictures.DEEP[mode]
        log.info(
            "%s: %d images of mode %s: from %g, which is black, to %g, which is white (values)",
            options, modes[mode], mode, black, white,
        )  # fmt: skip
    if seen := modes["transparent"]:
        ground = ", ".join(map(str, options.background))
        log.info(
            "%s: %d images with transparency, before a background of %s", options, seen, ground
        )
    shape = (facts.channels, *(options.image_size or facts.image_size))
    images = {
        split: Pictures(options, [*map(str, _paths(classes))], shape)
        for split, classes in listing.items()
    }
    return _arrays(images, listing)


def content(options: Options) -> list[tuple[str, Path]]:
    root = _root(options)
    return [
        (str(path.relative_to(root)), path)
        for classes in _listing(options).values()
        for path in _paths(classes)
    ]


def _root(options: Options) -> Path:
    return arguments.path(f"{options}: path", options.path)


def _listing(options: Options) -> Listing:
    return _found(options)[0]


def _found(options: Options) -> tuple[Listing, Counter[str]]:
    """The image files, and how many others there are, by what kind they are of."""
    root, left = _root(options), Counter[str]()
    folders = _splits(options, root)
    listing = {split: _classes(options, folder, left) for split, folder in folders.items()}
    if isinstance(options.test, float):
        listing = _divided(options, root, listing)
    elif options.test == "validation":
        listing["test"], folders["test"] = listing.pop("validation"), folders["validation"]
    for split, classes in listing.items():
        if not classes and split != "validation":
            raise InputError(
                f"{options}: {folders[split]} has no folder for a class; expected is a folder of "
                "images for each class"
            )
        odd = sorted(classes.keys() - listing["train"].keys())
        odd += sorted(listing["train"].keys() - classes.keys()) if split == "test" else []
        if odd:
            raise InputError(
                f"{options}: class '{odd[0]}' is in one of {folders['train']} and {folders[split]} "
                "only; every class has a folder in both"
            )
    order = [split for split in ("train", "test", "validation") if listing.get(split)]
    return {split: listing[split] for split in order}, +left


def _splits(options: Options, root: Path) -> dict[str, Path]:
    """The folder of each split that is read from."""
    expected = f"expected {root}/train and {root}/test with a folder of images for each class"
    if not root.is_dir():
        raise InputError(f"{options}: {root} is not a folder; {expected}")
    found, share = dict[str, Path](), isinstance(options.test, float)
    folders = [place for place in _entries(root) if place.is_dir()]
    for place in folders:
        if (split := _SPLITS.get(place.name.lower())) is None:
            continue
        if split in found:
            raise InputError(
                f"{options}: {found[split]} and {place} are both a {split} split; allowed is one: "
                "rename or remove the other"
            )
        found[split] = place
    if not found and share:
        return {"train": root}
    beside = [
        place
        for place in folders
        if place not in found.values() and _images_in(options, place, Counter())
    ]
    if share and [*found] == ["train"] and beside:
        raise InputError(
            f"{options}: {found['train']} would be the split, or a class as {beside[0]} beside it; "
            "rename it, or move the others"
        )
    if not found:
        some = ", ".join(place.name for place in folders[:3])
        hint = f"; if {some} are classes, say which share of each is tested on, as `test: 0.2`"
        raise InputError(f"{options}: {root}/train is not a folder; {expected}{hint * bool(some)}")
    if "train" not in found:
        raise InputError(f"{options}: {root}/train is not a folder; {expected}")
    if "test" in found and options.test is not None:
        raise InputError(
            f"{options}: test is {options.test}, and there is a test split, {found['test']}; "
            "allowed is one of them: leave `test` out, or rename the folder"
        )
    if "test" not in found and not share and (options.test is None or "validation" not in found):
        say = "`test: 0.2`, a share of each class to test on"
        if "validation" in found:
            say = f"`test: validation` to test on {found['validation']}, or {say}"
        raise InputError(f"{options}: {root}/test is not a folder; {expected}, or say {say}")
    return found


def _classes(options: Options, folder: Path, left: Counter[str]) -> dict[str, list[Path]]:
    """The images of each class of a split."""
    found, loose = dict[str, list[Path]](), 0
    for place in _entries(folder, left):
        if not place.is_dir():
            suffix = place.suffix.lower()
            if suffix in pictures.SUFFIXES:
                loose += 1
            else:
                left[suffix] += 1
            continue
        beside = Counter[str]()
        images = _images_in(options, place, beside)
        if not images:
            there = f" (there are {_told(beside)})" if beside else ""
            raise InputError(
                f"{options}: class folder {place} has no image; allowed are "
                f"{', '.join(pictures.SUFFIXES)}{there}: remove it, or convert its files"
            )
        found[place.name] = images
        left += beside
    left["images outside the folders of classes"] += loose
    return found


def _images_in(
    options: Options, folder: Path, left: Counter[str], inside: frozenset[str] = frozenset()
) -> list[Path]:
    """All images in a folder and the folders in it, in order; `inside` are those that it is in."""
    real = os.path.realpath(folder)
    if real in inside:
        raise InputError(f"{options}: {folder}: a link that leads back to {real}, which it is in")
    found = []
    for path in _entries(folder, left):
        suffix = path.suffix.lower()
        if path.is_dir():
            found += _images_in(options, path, left, inside | {real})
        elif suffix in pictures.SUFFIXES:
            found.append(path)
        else:
            left[suffix] += 1
    return found


def _entries(folder: Path, left: Counter[str] | None = None) -> list[Path]:
    """What is in a folder, in order, but for what is nobody's image."""
    found = []
    for path in sorted(folder.iterdir()):
        name = path.name
        if _NOBODYS.fullmatch(name) or (_LOCKS.fullmatch(name) and not path.is_dir()):
            if left is not None:
                left[_HIDDEN] += 1
        else:
            found.append(path)
    return found


def _divided(options: Options, root: Path, listing: Listing) -> Listing:
    """Hold a share of every class out of the training split, to test on."""
    train, test = dict[str, list[Path]](), dict[str, list[Path]]()
    for name, paths in listing["train"].items():
        if len(paths) < 2:
            raise InputError(
                f"{options}: class '{name}' has one image, of which test ({options.test}) leaves "
                "none to train on; at least 2 are needed"
            )
        number = min(max(1, round(float(options.test or 0) * len(paths))), len(paths) - 1)
        told = [str(path.relative_to(root)) for path in paths]
        out = held_out(told, number, "test", options.split_seed)
        train[name] = [path for i, path in enumerate(paths) if i not in out]
        test[name] = [path for i, path in enumerate(paths) if i in out]
    return {**listing, "train": train, "test": test}


def _tell(options: Options, left: Counter[str]) -> None:
    """Say which files are not read; on the terminal if some of them may be images."""
    if left:
        seen = any(_IMAGE_LIKE.fullmatch(kind) for kind in left)
        log.log(
            logging.WARNING if seen else logging.INFO,
            "%s: left out are %s; read are %s",
            options, _told(left), ", ".join(pictures.SUFFIXES),
        )  # fmt: skip


def _told(left: Counter[str]) -> str:
    return ", ".join(
        f"{number} {kind or 'without suffix'}" for kind, number in sorted(left.items())
    )


def _facts(options: Options, listing: Listing, modes: Counter[str] | None = None) -> Facts:
    """What names and headers tell, of which every image's is looked at.

    Args:
        modes: to count the images of each mode, and those that are `transparent`.
    """
    grey, first = True, None
    for path in itertools.chain(*map(_paths, listing.values())):
        seen = pictures.header(options, str(path))
        grey = grey and seen.mode in pictures.GREY_MODES
        if modes is not None:
            modes.update([seen.mode, *["transparent"] * seen.transparent])
        first = first or (path, seen.size)
        if seen.size != first[1] and options.image_size is None:
            (height, width), (first_height, first_width) = seen.size, first[1]
            raise InputError(
                f"{options}: {path} has {width}x{height} pixels, {first[0]} "
                f"{first_width}x{first_height}; give the data set an image_size"
            )
    shape = (1 if grey else 3, *(first[1] if first else (0, 0)))
    black = {
        split: np.broadcast_to(np.uint8(0), (len(_paths(classes)), *shape))
        for split, classes in listing.items()
    }
    return check(str(options), _arrays(black, listing))


def _arrays(images: dict[str, Any], listing: Listing) -> Arrays:
    made: dict[str, Any] = {f"{split}_images": array for split, array in images.items()}
    for split, classes in listing.items():
        numbers = [len(classes.get(name, ())) for name in listing["train"]]
        made[f"{split}_labels"] = np.repeat(np.arange(len(numbers)), numbers)
    return Arrays(**made, class_names=list(listing["train"]))


def _paths(classes: dict[str, list[Path]]) -> list[Path]:
    return [*itertools.chain(*classes.values())]
