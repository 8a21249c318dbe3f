"""Public data sets, each read from small files of its original format."""

import bz2
import pickle
from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from conftest import ROOT
from PIL import Image

from dclib.data import published, sources
from dclib.data.published import SETS
from dclib.errors import InputError

RNG = np.random.default_rng(0)
EMNIST = [name for name in SETS if name.startswith("EMNIST")]


def idx(path, array):
    """Write an array in the format of MNIST."""
    code = {"uint8": 8, "int32": 12}[array.dtype.name]
    header = np.array([code << 8 | array.ndim, *array.shape], ">i4").tobytes()
    path.write_bytes(header + array.astype(array.dtype.newbyteorder(">")).tobytes())


def like_mnist(folder, name, labels):
    """Files of KMNIST, EMNIST or QMNIST; EMNIST's columns are rows in them."""
    files, found = [*SETS[name].files], []
    for split, (images_file, labels_file) in enumerate(zip(files[::2], files[1::2], strict=True)):
        own = labels[split:]  # splits that differ
        images = RNG.integers(256, size=(len(own), 28, 28), dtype=np.uint8)
        idx(folder / images_file, images.transpose(0, 2, 1) if name in EMNIST else images)
        told = (own + (name == "EMNIST-letters")).astype(np.uint8)
        if name == "QMNIST":
            told = np.stack([own, *RNG.integers(99, size=(7, len(own)))], axis=1).astype(np.int32)
        idx(folder / labels_file, told)
        found.append((images[:, None], own))
    return found


def like_cifar100(folder, name, labels):
    found = []
    for split, file in enumerate(("train", "test")):
        own = labels[split:]
        images = RNG.integers(256, size=(len(own), 3, 32, 32), dtype=np.uint8)
        coarse = [0] * len(own)
        content = {"data": images.reshape(len(own), -1), "coarse_labels": coarse}
        content["fine_labels"] = own.tolist()
        (folder / file).write_bytes(pickle.dumps(content))
        found.append((images, own))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(SETS[name].names)}))
    return found


def like_usps(folder, name, labels):
    """A line an image: the label from 1, and index:value of 256 pixels from -1 to 1."""
    found = []
    for split, file in enumerate(("usps.bz2", "usps.t.bz2")):
        own = labels[split:]
        values = RNG.choice([-1.0, -0.5, 0.25, 1.0], size=(len(own), 256))
        lines = [
            f"{label + 1} " + " ".join(f"{i + 1}:{value:.4f}" for i, value in enumerate(row))
            for label, row in zip(own, values, strict=True)
        ]
        (folder / file).write_bytes(bz2.compress("\n".join(lines).encode()))
        pixels = np.floor((values + 1) / 2 * 255).astype(np.uint8)
        found.append((pixels.reshape(-1, 1, 16, 16), own))
    return found


def like_stl10(folder, name, labels):
    """Columns first, labels from 1; without the images that have no label."""
    found = []
    for split, file in enumerate(("train", "test")):
        own = labels[split:]
        images = RNG.integers(256, size=(len(own), 3, 96, 96), dtype=np.uint8)
        (folder / f"{file}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{file}_y.bin").write_bytes((own + 1).astype(np.uint8).tobytes())
        found.append((images, own))
    return found


FORMATS = {
    "KMNIST": like_mnist, "QMNIST": like_mnist, **dict.fromkeys(EMNIST, like_mnist),
    "CIFAR100": like_cifar100, "USPS": like_usps, "STL10": like_stl10,
}  # fmt: skip


def write(name, root, monkeypatch):
    """Small files of a data set, which are the originals for once; what they hold."""
    told = SETS[name]
    (root / told.folder).mkdir(parents=True, exist_ok=True)
    labels = np.concatenate([RNG.permutation(len(told.names)), np.arange(len(told.names))])
    found = FORMATS[name](root / told.folder, name, labels)
    files = {}
    for file, original in told.files.items():
        path = root / told.folder / file
        md5 = torchvision.datasets.utils.calculate_md5(str(path))
        files[file] = path.stat().st_size if isinstance(original, int) else md5
    monkeypatch.setitem(SETS, name, told._replace(files=files))
    monkeypatch.setitem(torchvision.datasets.CIFAR100.meta, "md5", files.get("meta"))
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_in_the_files_is_read(name, tmp_path, monkeypatch):
    train, test = write(name, tmp_path, monkeypatch)
    told, data = SETS[name], sources.read({"name": name}, tmp_path)
    for images, labels, (pixels, numbers) in (
        (data.train_images, data.train_labels, train),
        (data.test_images, data.test_labels, test),
    ):
        np.testing.assert_array_equal(images.numpy(), pixels)
        assert labels.tolist() == numbers.tolist()
    assert data.class_names == tuple(told.names)
    assert (data.channels, *data.image_size) == (told.channels, told.size, told.size)
    if told.mean is None:
        scaled = data.train_images.double() / 255
        np.testing.assert_allclose(data.mean, scaled.mean((0, 2, 3)), atol=1e-4)
    else:
        assert (data.mean, data.std) == (told.mean, told.std)
    path = tmp_path / told.folder / next(iter(told.files))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{path} is corrupt or cut short: delete it"):
        sources.read({"name": name}, tmp_path)


def test_the_table_is_that_of_torchvision():
    d = torchvision.datasets
    for name in ("MNIST", "FashionMNIST", "KMNIST", "QMNIST"):
        assert list(getattr(d, name).classes) == list(SETS[name].names)
    for split, names in d.EMNIST.classes_split_dict.items():
        assert [n for n in names if n != "N/A"] == list(SETS[f"EMNIST-{split}"].names)
    for wnid, names in d.Imagenette._WNID_TO_CLASS.items():
        assert published.trees.IMAGENETTE[wnid] == names[0]
    cifar, stl, usps = d.CIFAR100, d.STL10, d.USPS
    files = dict([*cifar.train_list, *cifar.test_list, (cifar.meta["filename"], cifar.meta["md5"])])
    assert SETS["CIFAR100"].files == files
    files = dict([*stl.train_list, *stl.test_list])
    assert SETS["STL10"].files.items() == files.items() - {
        ("unlabeled_X.bin", files["unlabeled_X.bin"])
    }
    assert SETS["USPS"].files == {file: md5 for _, file, md5 in usps.split_list.values()}
    sizes = [47_040_016, 60_008, 7_840_016, 10_008]  # of MNIST's files
    assert list(SETS["KMNIST"].files.values()) == sizes


@pytest.mark.parametrize(
    ("name", "train"),
    [("MNIST", 60_000), ("QMNIST", 60_000), ("SVHN", 73_257), ("USPS", 7291), ("ImageNette", 9469),
     ("CIFAR100", 50_000), ("EMNIST-letters", 124_800), ("EMNIST-balanced", 112_800)],
)  # fmt: skip
def test_the_images_of_all_classes_are_the_training_split(name, train):
    counts = sources.public.counts(sources.settings.Options(name=name))
    assert sum(counts.train) == train
    assert sources.look({"name": name}).smallest_class == min(counts.train)


def picture(path, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(256, size=shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


WORDS = {"n03": "goldfish, Carassius auratus", "n01": "crane", "n02": "crane", "n09": "unused"}


@pytest.fixture
def tiny(tmp_path):
    """Three classes of TinyImageNet, one picture grey, and the pixels of each."""
    root, pixels = tmp_path / "tiny-imagenet-200", {}
    for wnid in ("n03", "n01", "n02"):
        for i in range(2):
            path = root / f"train/{wnid}/images/{wnid}_{i}.JPEG"
            pixels[path.name] = picture(path, (64, 64) if wnid == "n03" else (64, 64, 3))
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t62\t62\n")
    lines = []
    for i, wnid in enumerate(("n02", "n03", "n01", "n02")):
        pixels[f"val_{i}.JPEG"] = picture(root / f"val/images/val_{i}.JPEG", (64, 64, 3))
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("n03\nn01\nn02\n")
    (root / "words.txt").write_text("".join(f"{wnid}\t{told}\n" for wnid, told in WORDS.items()))
    picture(root / "test/images/test_0.JPEG", (64, 64, 3))  # which nobody has labels of
    return root, pixels


def test_tiny_imagenet_as_it_is_shipped(tiny, tmp_path):
    root, pixels = tiny
    data = sources.read({"name": "TinyImageNet"}, tmp_path)
    assert data.class_names == ("crane (n01)", "crane (n02)", "goldfish")
    assert data.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.test_labels.tolist() == [0, 1, 1, 2]
    for images, names in (
        (data.train_images, [f"n0{c}_{i}.JPEG" for c in (1, 2, 3) for i in (0, 1)]),
        (data.test_images, [f"val_{i}.JPEG" for i in (2, 0, 3, 1)]),
    ):
        np.testing.assert_array_equal(images.numpy(), np.stack([pixels[name] for name in names]))
    assert data.mean == (0.485, 0.456, 0.406)
    chosen = sources.read({"name": "TinyImageNet", "classes": ["goldfish", 0]}, tmp_path)
    assert chosen.train_labels.tolist() == [1, 1, 0, 0]
    (root / "words.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"words.txt cannot be read \(no text\); expected as"):
        sources.read({"name": "TinyImageNet"}, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (lambda root: (root / "wnids.txt").unlink(), "wnids.txt cannot be read (No such file"),
        (lambda root: (root / "val/images/val_1.JPEG").unlink(), "line 2 is 'val_1.JPEG"),
        (lambda root: (root / "wnids.txt").write_text("n01\nn02"), "line 2 is"),
        (lambda root: (root / "val/val_annotations.txt").write_text("x"), "line 1 is 'x'"),
        (lambda root: (root / "train/n02").rename(root / "n02"), "n02/images is not a folder"),
        (lambda root: root.rename(root.with_name("x")), "no folder tiny-imagenet-200 in"),
    ],
)
def test_tiny_imagenet_that_lacks_something(spoil, part, tiny, tmp_path):
    spoil(tiny[0])
    with pytest.raises(InputError) as raised:
        sources.read({"name": "TinyImageNet"}, tmp_path)
    assert part in str(raised.value)


@pytest.mark.parametrize(
    ("name", "folder"), [("ImageNette", "imagenette2-160"), ("ImageWoof", "imagewoof2")]
)
def test_the_folders_of_imagenette(name, folder, tmp_path):
    wnids = getattr(published.trees, name.upper())
    for split, n in (("train", 2), ("val", 1)):
        for i, wnid in enumerate(wnids):
            for j in range(n):
                picture(tmp_path / f"{folder}/{split}/{wnid}/{j}.JPEG", (20 + i, 30 - j, 3))
        (tmp_path / f"{folder}/{split}/{next(iter(wnids))}/._0.JPEG").write_bytes(b"a Mac's")
    data = sources.read({"name": name, "image_size": 16}, tmp_path)
    assert data.class_names == tuple(wnids.values())
    assert data.train_images.shape == (20, 3, 16, 16)
    assert data.train_labels.tolist() == [c for c in range(10) for _ in range(2)]
    assert data.test_labels.tolist() == list(range(10))
    assert list(wnids) == sorted(wnids)  # as the numbers of labels are elsewhere
    assert sources.look({"name": name}).image_size == (128, 128)


def test_a_missing_tree_says_where_it_is_looked_for(tmp_path):
    call = partial(sources.read, {"name": "ImageWoof"}, tmp_path)
    with pytest.raises(InputError, match="no folder imagewoof2 or imagewoof2-320 or imagewoof2-16"):
        call()


def test_the_page_tells_of_every_data_set():
    """Each has a row, which ends with its statistics."""
    rows = (ROOT / "docs/data.md").read_text().splitlines()
    for name, told in SETS.items():
        (row,) = (row for row in rows if row.startswith(f"| `{name}` |"))
        assert f"{told.size}x{told.size}" in row
        numbers = (*(told.mean or ()), *(told.std or ()))
        assert all(f"{number:.4f}".rstrip("0") in row for number in numbers), row
        assert numbers or "computed" in row


def test_labels_are_integers_of_64_bits(tmp_path, monkeypatch):
    write("STL10", tmp_path, monkeypatch)
    assert sources.read({"name": "STL10"}, tmp_path).train_labels.dtype == torch.int64
