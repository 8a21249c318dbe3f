"""Public data sets that are folders of pictures, as they are shipped: which pictures they have."""

from collections.abc import Mapping
from pathlib import Path

from dclib.data.sources.settings import Options
from dclib.errors import InputError

Listing = dict[str, dict[str, list[Path]]]  # the pictures of every class of both splits

# What WordNet's numbers mean, in the order of these.
IMAGENETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
IMAGEWOOF = {
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "beagle",
    "n02089973": "English foxhound",
    "n02093754": "Border terrier",
    "n02096294": "Australian terrier",
    "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "dingo",
}


def imagenette(options: Options, root: Path) -> Listing:
    """Return the pictures of imagenette2, imagenette2-320 or imagenette2-160, the first there is.

    Raises:
        InputError: there is none, or it lacks something.
    """
    return _of_imagenet(options, root, "imagenette2", IMAGENETTE)


def imagewoof(options: Options, root: Path) -> Listing:
    """Return the pictures of imagewoof2, as `imagenette` does."""
    return _of_imagenet(options, root, "imagewoof2", IMAGEWOOF)


def tiny_imagenet(options: Options, root: Path) -> Listing:
    """Return the pictures of tiny-imagenet-200; those of its `val`, which have labels, are to test.

    Classes are in the order of WordNet's numbers, which wnids.txt has, and called by the first word
    for them in words.txt.

    Raises:
        InputError: it is not there, or lacks something.
    """
    place = _place(options, root, "tiny-imagenet-200")
    wnids = sorted(_lines(options, place / "wnids.txt"))
    rows = (line.partition("\t") for line in _lines(options, place / "words.txt"))
    words = {wnid: told.split(",")[0].strip() for wnid, _, told in rows}
    first = [words.get(wnid, wnid) for wnid in wnids]
    names = {
        wnid: word if first.count(word) == 1 else f"{word} ({wnid})"
        for wnid, word in zip(wnids, first, strict=True)
    }
    train = {
        name: _pictures(options, place / "train" / wnid / "images") for wnid, name in names.items()
    }
    test: dict[str, list[Path]] = {name: [] for name in names.values()}
    told = place / "val/val_annotations.txt"
    for number, line in enumerate(_lines(options, told), start=1):
        picture, _, rest = line.partition("\t")
        wnid, path = rest.split("\t")[0], place / "val/images" / picture
        if wnid not in names or not path.is_file():
            raise InputError(
                f"{options}: {told}: line {number} is '{line[:60]}'; allowed is the name of a "
                "picture in val/images, a tab and a number of wnids.txt"
            )
        test[names[wnid]].append(path)
    return {"train": train, "test": test}


def _of_imagenet(options: Options, root: Path, name: str, classes: Mapping[str, str]) -> Listing:
    place = _place(options, root, name, f"{name}-320", f"{name}-160")
    return {
        split: {
            word: _pictures(options, place / folder / wnid) for wnid, word in classes.items()
        }
        for split, folder in (("train", "train"), ("test", "val"))
    }  # fmt: skip


def _place(options: Options, root: Path, *folders: str) -> Path:
    for folder in folders:
        if (root / folder).is_dir():
            return root / folder
    raise InputError(
        f"{options}: there is no folder {' or '.join(folders)} in {root.absolute()}; unpack its "
        "archive there, or name the folder that holds it in data_dir or $DCLIB_DATA_DIR"
    )


def _lines(options: Options, path: Path) -> list[str]:
    """The lines of a text that are not empty."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no text"
        raise InputError(
            f"{options}: {path} cannot be read ({why}); expected as the archive has it"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def _pictures(options: Options, place: Path) -> list[Path]:
    if not place.is_dir():
        raise InputError(
            f"{options}: {place} is not a folder; expected is what the archive has there: unpack it"
            " anew"
        )
    found = sorted(place.glob("*.JPEG"))
    return [path for path in found if not path.name.startswith(".")]
