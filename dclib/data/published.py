"""Public data sets: what is known of each before it is read, told once, in one entry of `SETS`."""

import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dclib.data import trees
from dclib.data.sources.settings import Options


class Published(NamedTuple):
    """A data set, and what a plan has to know of it.

    Attributes:
        channels: of its images.
        size: of these, which are square.
        names: of its classes, as torchvision has them; none where only the files tell.
        counts: the training images of each class, or one number for all; where they are not known,
            what the smallest class has at most.
        files: of each file that is read its MD5 or, where only that of its archive is published,
            its size in bytes.
        folder: where these are, below the folder of all data sets.
        mean: of every channel of the training images, as the field's code has it; where it has
            none, it is computed.
        std: likewise.
        statistics: where mean and std are from.
        characters: digits or letters, which are not themselves in a mirror.
        kind: torchvision's class, if it is called otherwise.
        splits: the arguments by which torchvision opens the training and the test split.
        first: the label of the first class.
        transposed: whether rows are columns in the files.
        listing: what finds the pictures, of a data set that is a folder of them; see `trees`.
    """

    channels: int
    size: int
    names: Sequence[str]
    counts: int | Sequence[int]
    files: Mapping[str, str | int] = {}
    folder: str = ""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    statistics: str = "computed, as the field's code has none"
    characters: bool = False
    kind: str = ""
    splits: tuple[Mapping[str, Any], Mapping[str, Any]] = ({"train": True}, {"train": False})
    first: int = 0
    transposed: bool = False
    listing: Callable[[Options, Path], trees.Listing] | None = None


def _words(text: str) -> list[str]:
    return text.split()


_DIGITS = [*string.digits]
_SPELT = _words("zero one two three four five six seven eight nine")
_OF_MNIST: dict[str, Any] = {
    "names": [f"{digit} - {name}" for digit, name in zip(_DIGITS, _SPELT, strict=True)],
    "counts": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
}
_MERGED = "cijklmopsuvwxyz"  # letters of which EMNIST takes small and capital ones for one
_OF_IMAGENET: dict[str, Any] = {
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
    "statistics": "ImageNet's, as in the code of DM and MTT",
}
_DC = "the code of DC"


def _sizes(*names: str, train: int = 60_000, test: int = 10_000) -> dict[str, str | int]:
    """The bytes of images and labels of both splits in the format of MNIST."""
    images = [16 + 28 * 28 * n for n in (train, test)]
    labels = [12 + 4 * 8 * n if "idx2-int" in names[1] else 8 + n for n in (train, test)]
    return dict(zip(names, (images[0], labels[0], images[1], labels[1]), strict=True))


def _emnist(split: str, names: Sequence[str], counts: int, train: int, test: int) -> Published:
    files = [
        f"emnist-{split}-{part}-{kind}-ubyte"
        for part in ("train", "test")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return Published(
        1,
        28,
        names,
        counts,
        _sizes(*files, train=train, test=test),
        "EMNIST/raw",
        characters=True,
        kind="EMNIST",
        splits=({"split": split, "train": True}, {"split": split, "train": False}),
        first=int(split == "letters"),
        transposed=True,
    )


_ALL_CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_UNMERGED = [c for c in _ALL_CHARACTERS if c not in _MERGED]

SETS: dict[str, Published] = {
    "MNIST": Published(
        channels=1,
        size=28,
        **_OF_MNIST,
        files={
            "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
            "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
        },
        folder="MNIST/raw",
        mean=(0.1307,),
        std=(0.3081,),
        statistics=_DC,
        characters=True,
    ),
    "FashionMNIST": Published(
        channels=1,
        size=28,
        names=["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
               "Bag", "Ankle boot"],
        counts=6000,
        files={
            "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        folder="FashionMNIST/raw",
        mean=(0.2861,),
        std=(0.3530,),
        statistics=_DC,
    ),
    "SVHN": Published(  # without `extra`, as in the paper
        channels=3,
        size=32,
        names=_DIGITS,
        counts=(4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
        files={
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
        mean=(0.4377, 0.4438, 0.4728),
        std=(0.1980, 0.2010, 0.1970),
        statistics=_DC,
        characters=True,
        splits=({"split": "train"}, {"split": "test"}),
    ),
    "CIFAR10": Published(
        channels=3,
        size=32,
        names=["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
               "truck"],
        counts=5000,
        files={
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
        },
        folder="cifar-10-batches-py",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        statistics=_DC,
    ),
    "CIFAR100": Published(
        channels=3,
        size=32,
        names=_words(
            "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy "
            "bridge bus butterfly camel can castle caterpillar cattle chair chimpanzee clock "
            "cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish "
            "forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion "
            "lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange "
            "orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine "
            "possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
            "snail snake spider squirrel streetcar sunflower sweet_pepper table tank "
            "telephone television tiger tractor train trout tulip turtle wardrobe whale "
            "willow_tree wolf woman worm"
        ),
        counts=500,
        files={
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
        folder="cifar-100-python",
        mean=(0.5071, 0.4866, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        statistics="the code of DC since March 2022; before, as in MTT and IDC to this day, it had "
        "those of CIFAR10",
    ),
    "KMNIST": Published(
        channels=1,
        size=28,
        names=_words("o ki su tsu na ha ma ya re wo"),
        counts=6000,
        files=_sizes("train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                     "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
        folder="KMNIST/raw",
        characters=True,
    ),
    "EMNIST-byclass": _emnist("byclass", [*_ALL_CHARACTERS], 697_932 // 62, 697_932, 116_323),
    "EMNIST-bymerge": _emnist("bymerge", _UNMERGED, 697_932 // 47, 697_932, 116_323),
    "EMNIST-balanced": _emnist("balanced", _UNMERGED, 2400, 112_800, 18_800),
    "EMNIST-letters": _emnist("letters", [*string.ascii_lowercase], 4800, 124_800, 20_800),
    "EMNIST-digits": _emnist("digits", _DIGITS, 24_000, 240_000, 40_000),
    "EMNIST-mnist": _emnist("mnist", _DIGITS, 6000, 60_000, 10_000),
    "QMNIST": Published(
        channels=1,
        size=28,
        **_OF_MNIST,
        files=_sizes("qmnist-train-images-idx3-ubyte", "qmnist-train-labels-idx2-int",
                     "qmnist-test-images-idx3-ubyte", "qmnist-test-labels-idx2-int", test=60_000),
        folder="QMNIST/raw",
        characters=True,
    ),
    "USPS": Published(
        channels=1,
        size=16,
        names=_DIGITS,
        counts=(1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644),
        files={
            "usps.bz2": "ec16c51db3855ca6c91edd34d0e9b197",
            "usps.t.bz2": "8ea070ee2aca1ac39742fdd1ef5ed118",
        },
        characters=True,
    ),
    "STL10": Published(
        channels=3,
        size=96,
        names=_words("airplane bird car cat deer dog horse monkey ship truck"),
        counts=500,
        files={
            "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
            "train_y.bin": "5a34089d4802c674881badbb80307741",
            "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
            "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
        },
        folder="stl10_binary",
        splits=({"split": "train"}, {"split": "test"}),
    ),
    "TinyImageNet": Published(
        channels=3,
        size=64,
        names=(),
        counts=500,
        **_OF_IMAGENET,
        listing=trees.tiny_imagenet,
    ),
    "ImageNette": Published(
        channels=3,
        size=128,
        names=[*trees.IMAGENETTE.values()],
        counts=(963, 955, 993, 858, 941, 956, 961, 931, 951, 960),
        **_OF_IMAGENET,
        listing=trees.imagenette,
    ),
    "ImageWoof": Published(
        channels=3,
        size=128,
        names=[*trees.IMAGEWOOF.values()],
        counts=9025 // 10,
        **_OF_IMAGENET,
        listing=trees.imagewoof,
    ),
}  # fmt: skip

# The sources of characters; the embedded digits are no public data set.
CHARACTERS = (*(name for name, told in SETS.items() if told.characters), "digits")
