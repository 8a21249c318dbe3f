"""Reading data sets, refusing damaged ones, and the prepared file."""

import hashlib
import pickle
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from conftest import REAL, ROOT, need_real
from PIL import Image

from dclib.data import datasets, sources
from dclib.data.checks import TENSOR_NAMES
from dclib.data.datasets import ImageDataset
from dclib.data.sources import public
from dclib.errors import Damaged, InputError
from dclib.tensors import read_tensors, write_tensors


def read(source, data_dir=None, **options):
    return sources.read({"source": source, **options}, data_dir)


def one_line(call, *parts):
    with pytest.raises(InputError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", refuse)
    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", refuse)
    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", refuse, raising=False)
    monkeypatch.setattr(torchvision.datasets.utils, "download_url", refuse)
    monkeypatch.setattr(public.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize(
    ("name", "folder", "channels", "size", "train", "test"),
    [
        ("MNIST", "MNIST", 1, 28, 60_000, 10_000),
        ("FashionMNIST", "FashionMNIST", 1, 28, 60_000, 10_000),
        ("CIFAR10", "cifar-10-batches-py", 3, 32, 50_000, 10_000),
    ],
)
def test_real_files(name, folder, channels, size, train, test):
    need_real(name, folder)
    data = read(name, data_dir=REAL)
    smallest = int(torch.bincount(data.train_labels).min())
    assert sources.look({"name": name}) == (data.channels, data.image_size, smallest)
    assert data.train_images.shape == (train, channels, size, size)
    assert data.test_images.shape == (test, channels, size, size)
    assert torch.bincount(data.test_labels).tolist() == [1000] * 10 or name == "MNIST"
    assert len(data.class_names) == 10
    normalised = data.normalise(data.train_images[:5000])
    assert normalised.mean().abs() < 0.05
    assert (normalised.std() - 1).abs() < 0.3  # CIFAR10's published std is that of an image
    assert np.allclose(datasets.statistics(data.train_images)[0], data.mean, atol=1e-3)


def test_digits(digits):
    from sklearn.datasets import load_digits

    original = load_digits()
    assert len(digits.train_images) + len(digits.test_images) == 1797
    share = torch.bincount(digits.test_labels) / torch.bincount(torch.from_numpy(original.target))
    assert share.min() > 0.19
    assert share.max() < 0.21
    assert digits.class_names == tuple("0123456789")
    first = torch.from_numpy(original.images[0] / 16)
    torch.testing.assert_close(
        digits.train_images[0, 0].double() / 255, first, atol=0.5 / 255, rtol=0
    )
    normalised = digits.normalise(digits.train_images)
    assert normalised.mean().abs() < 1e-3
    assert (normalised.std() - 1).abs() < 1e-3


def test_digits_resized():
    data = read("digits", image_size=28)
    assert data.train_images.shape[1:] == (1, 28, 28)
    assert data.train_images.max() > 200
    assert read("digits", image_size=[16, 12]).image_size == (16, 12)


def test_prepared_file_is_mapped_and_whole(digits, tmp_path):
    path = tmp_path / "data.safetensors"
    digits.save(path)
    loaded = ImageDataset.load(path)
    for name in TENSOR_NAMES:
        assert torch.equal(getattr(loaded, name), getattr(digits, name))
    assert (loaded.name, loaded.mean, loaded.std) == (digits.name, digits.mean, digits.std)
    assert loaded.fingerprint == digits.fingerprint
    content = path.read_bytes()
    digits.save(path)
    assert path.read_bytes() == content
    mapped = Path("/proc/self/maps")
    if mapped.exists():
        assert str(path) in mapped.read_text()
    for size in (0, 5, 200, len(content) - 1):
        path.write_bytes(content[:size])
        one_line(lambda: ImageDataset.load(path), path, "not a whole safetensors file")
    one_line(lambda: ImageDataset.load(tmp_path / "none"), "no such file")


def test_a_flipped_bit_in_a_prepared_file_is_found(digits, tmp_path):
    path = tmp_path / "data.safetensors"
    digits.save(path)
    content = path.read_bytes()
    for at in (len(content) - 1, len(content) // 2, content.index(b"0.3052") + 2):
        flipped = bytearray(content)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(Damaged) as raised:
            ImageDataset.load(path)
        assert raised.value.path == path
        one_line(lambda: ImageDataset.load(path), path, "damaged")


def test_metadata_of_any_kind_in_a_prepared_file(digits, tmp_path):
    path = tmp_path / "data.safetensors"
    digits.save(path)
    tensors, metadata = read_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    for key in ("fingerprint", "mean", "std", "class_names", "dataset"):
        for value in (None, 3, "x", [], [None], {"a": 1}, [10**400], [1e999], ["\udce9"] * 10):
            write_tensors(path, tensors, {**metadata, key: value})
            if (key, value) != ("dataset", "x"):  # which tensors say nothing of
                one_line(lambda: ImageDataset.load(path), path)


def svhn(folder, monkeypatch, labels=(1, 10, 2, 10, 9)):
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(32, 32, 3, len(labels)), dtype=np.uint8)
    for split in ("train", "test"):
        scipy.io.savemat(
            folder / f"{split}_32x32.mat", {"X": pixels, "y": np.array(labels)[:, None]}
        )
    md5 = {
        split: ["", f"{split}_32x32.mat", torchvision.datasets.utils.calculate_md5(
            str(folder / f"{split}_32x32.mat"))]
        for split in ("train", "test")
    }  # fmt: skip
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", md5)
    sums = {name: known for _, name, known in md5.values()}
    monkeypatch.setitem(public.SETS, "SVHN", public.SETS["SVHN"]._replace(files=sums))
    return pixels


def test_svhn_is_read_with_ten_as_zero(tmp_path, monkeypatch):
    labels = [*range(1, 11), 10, 3]
    pixels = svhn(tmp_path, monkeypatch, labels)
    data = read("SVHN", data_dir=tmp_path)
    assert data.train_labels.tolist() == [label % 10 for label in labels]
    assert data.train_images.shape == (12, 3, 32, 32)
    np.testing.assert_array_equal(data.train_images[7].numpy(), pixels[..., 7].transpose(2, 0, 1))
    assert data.mean == (0.4377, 0.4438, 0.4728)


def test_damaged_svhn_and_missing_files(tmp_path, monkeypatch, no_network):
    svhn(tmp_path, monkeypatch)
    with (tmp_path / "test_32x32.mat").open("ab") as stream:
        stream.write(b"x")
    one_line(
        lambda: read("SVHN", data_dir=tmp_path),
        tmp_path / "test_32x32.mat",
        "corrupt",
        "delete it",
        "data_dir",
    )
    for name, file in [
        ("MNIST", "train-images-idx3-ubyte"), ("FashionMNIST", "t10k-labels-idx1-ubyte"),
        ("CIFAR10", "data_batch_1"),
    ]:  # fmt: skip
        empty = tmp_path / "empty"
        one_line(
            partial(read, name, data_dir=empty),
            file,
            "not found",
            empty,
            public.DATA_DIR_VARIABLE,
            "no network",
        )


def test_a_data_dir_in_a_home_that_is_not_known():
    one_line(lambda: read("MNIST", data_dir="~nobody9/x"), "MNIST", "~nobody9/x", "home")


def test_data_dir_comes_from_the_environment(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv(public.DATA_DIR_VARIABLE, str(tmp_path / "elsewhere"))
    one_line(lambda: read("MNIST"), tmp_path / "elsewhere")


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """Twenty images in the files of MNIST, which are the originals for once."""
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        pixels = np.random.default_rng(0).integers(256, size=(20, 28, 28), dtype=np.uint8)
        header = np.array([0x803, 20, 28, 28], ">i4").tobytes()
        (raw / f"{split}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        header = np.array([0x801, 20], ">i4").tobytes()
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(header + bytes(range(10)) * 2)
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in raw.iterdir()}
    monkeypatch.setitem(public.SETS, "MNIST", public.SETS["MNIST"]._replace(files=sums))
    return raw


def test_only_the_original_files_of_mnist_are_read(mnist, no_network):
    root = mnist.parents[1]
    assert len(read("MNIST", data_dir=root).train_images) == 20
    for path in mnist.iterdir():
        content = path.read_bytes()
        flipped = bytearray(content)
        flipped[-5] ^= 1  # a label, which is as valid as the right one
        for wrong in (b"", content[:3], content[:10], content[:-1], content + b"x", flipped):
            path.write_bytes(wrong)
            one_line(lambda: read("MNIST", data_dir=root), path, "corrupt", "delete it")
        path.unlink()
        one_line(lambda: read("MNIST", data_dir=root), path.name, "not found", "no network")
        path.write_bytes(content)


def test_what_old_versions_of_torchvision_left_is_not_read(mnist):
    root = mnist.parents[1]
    before = read("MNIST", data_dir=root).fingerprint
    legacy = mnist.with_name("processed")
    legacy.mkdir()
    for name in ("training.pt", "test.pt"):
        torch.save((torch.zeros(9, 28, 28, dtype=torch.uint8), torch.arange(9)), legacy / name)
    assert read("MNIST", data_dir=root).fingerprint == before


def test_a_download_is_checked_too(mnist, tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    shutil.copytree(mnist, kept)
    shutil.rmtree(mnist)

    def download(url, download_root, filename, md5):
        shutil.copy(kept / Path(filename).stem, download_root)

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", download)
    monkeypatch.setattr(public.time, "sleep", lambda seconds: None)
    assert len(read("MNIST", data_dir=tmp_path).train_images) == 20
    shutil.rmtree(mnist)
    (kept / "train-labels-idx1-ubyte").write_bytes(b"rubbish")
    one_line(lambda: read("MNIST", data_dir=tmp_path), "train-labels-idx1-ubyte", "corrupt")


def test_the_checksums_are_those_that_torchvision_knows():
    cifar, svhn = torchvision.datasets.CIFAR10, torchvision.datasets.SVHN
    known = dict([*cifar.train_list, *cifar.test_list, (cifar.meta["filename"], cifar.meta["md5"])])
    assert public.SETS["CIFAR10"].files == known
    known = {svhn.split_list[split][1]: svhn.split_list[split][2] for split in ("train", "test")}
    assert public.SETS["SVHN"].files == known


def test_damaged_cifar(tmp_path, no_network):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, _ in torchvision.datasets.CIFAR10.train_list:
        (folder / name).write_bytes(pickle.dumps({"data": 1}))
    one_line(lambda: read("CIFAR10", data_dir=tmp_path), folder / "data_batch_1", "is corrupt")


def test_download_is_retried(monkeypatch):
    monkeypatch.setattr(public.time, "sleep", lambda seconds: None)
    calls = []

    def flaky():
        calls.append(1)
        if len(calls) < 3:
            raise OSError("connection reset")
        return "data"

    assert public._retry(flaky) == "data"
    assert len(calls) == 3
    with pytest.raises(ZeroDivisionError):
        public._retry(lambda: 1 / 0)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for name in ("cat", "dog"):
            place = tmp_path / split / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(256, size=(12, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{i}.png")
    return tmp_path


def test_a_folder_of_images(folder):
    data = read("folder", name="pets", path=folder)
    assert data.class_names == ("cat", "dog")
    assert data.train_images.shape == (8, 3, 12, 10)
    assert data.train_labels.tolist() == [0] * 4 + [1] * 4
    pixels = np.asarray(Image.open(folder / "train/cat/0.png"))
    np.testing.assert_array_equal(data.train_images[0].numpy(), pixels.transpose(2, 0, 1))
    scaled = data.train_images.double() / 255
    np.testing.assert_allclose(data.mean, scaled.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(data.std, scaled.std((0, 2, 3), correction=0), atol=1e-4)
    assert read("folder", path=folder, image_size=8).image_size == (8, 8)
    given = read("folder", path=folder, mean=[0.1, 0.2, 0.3], std=[1, 2, 3])
    assert given.mean == (0.1, 0.2, 0.3)


def test_only_what_is_missing_of_the_statistics_is_computed(folder):
    data = read("folder", path=folder, mean=[0.1, 0.2, 0.3])
    assert data.mean == (0.1, 0.2, 0.3)
    assert data.std == read("folder", path=folder).std


def test_grey_folders_have_one_channel(folder):
    for path in folder.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    assert read("folder", path=folder).channels == 1
    assert read("folder", path=folder, image_size=8).train_images.shape == (8, 1, 8, 8)


def test_folders_of_mixed_sizes_are_read_with_an_image_size(folder):
    Image.new("RGB", (5, 5)).save(folder / "train/dog/9.png")
    assert len(read("folder", path=folder, image_size=8).train_images) == 9


def npz(path, **change):
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(256, size=(6, 9, 7, 3), dtype=np.uint8),
        "train_labels": np.array([0, 1, 2, 0, 1, 2]),
        "test_images": rng.integers(256, size=(3, 9, 7, 3), dtype=np.uint8),
        "test_labels": np.array([0, 1, 2]),
    }
    arrays.update(change)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return arrays


def test_npz(tmp_path):
    path = tmp_path / "own.npz"
    arrays = npz(path)
    data = read("npz", name="own", path=path)
    np.testing.assert_array_equal(
        data.train_images.numpy(), arrays["train_images"].transpose(0, 3, 1, 2)
    )
    assert data.class_names == ("0", "1", "2")
    npz(path, train_images=np.zeros((6, 9, 7), np.uint8), test_images=np.zeros((3, 9, 7), np.uint8),
        class_names=np.array(["x", "y", "z"]))  # fmt: skip
    data = read("npz", path=path)
    assert (data.channels, data.class_names, data.std) == (1, ("x", "y", "z"), (1.0,))


def test_splits_of_an_npz_have_one_range(tmp_path):
    """None of them turns black because another says so."""
    path, dark = tmp_path / "own.npz", np.zeros((3, 9, 7, 3))
    bright = npz(path)["test_images"]
    for test in (bright / np.float32(255), bright / 255, bright > 127):
        npz(path, test_images=test)
        one_line(
            lambda: read("npz", path=path), path, "test_images", "and others go to 255",
            "one range for all images",
        )  # fmt: skip
    npz(path, train_images=np.ones((6, 9, 7, 3)), test_images=bright)
    one_line(lambda: read("npz", path=path), path, "train_images", "to 1, and others go to 255")
    npz(path, test_images=dark)  # of no range
    assert not read("npz", path=path).test_images.any()
    for number in ("u1", "i8"):
        npz(
            path,
            train_images=np.ones((6, 9, 7, 3), bool),
            test_images=(bright > 127).astype(number),
        )
        data = read("npz", path=path)
        assert [int(images.max()) for images in (data.train_images, data.test_images)] == [255, 255]


def test_floats_of_an_npz_may_be_rounded(tmp_path):
    path = tmp_path / "own.npz"
    train, test = (npz(path)[f"{split}_images"] / np.float32(255) for split in ("train", "test"))
    npz(path, train_images=train, test_images=test)
    exact = read("npz", path=path)
    train[0, 0, 0], train[1, 1, 1] = np.nextafter(np.float32(1), np.float32(2)), -1e-7
    npz(path, train_images=train, test_images=test)
    data = read("npz", path=path)
    assert torch.equal(data.test_images, exact.test_images)
    exact.train_images[0, :, 0, 0], exact.train_images[1, :, 1, 1] = 255, 0
    assert torch.equal(data.train_images, exact.train_images)


def test_other_faults(tmp_path):
    path = tmp_path / "own.npz"
    one_line(lambda: read("npz", path=path), path, "no file")
    path.write_bytes(b"PK rubbish")
    one_line(lambda: read("npz", path=path), path, "corrupt")
    one_line(lambda: read("folder", name="pets"), "pets", "needs a path")
    one_line(lambda: read("MNITS"), "MNITS", "did you mean 'MNIST'")
    one_line(lambda: read("digits", mean=[0.1, 0.2], std=[1, 1]), "1 channels")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"image_size": 3}, ("image_size is 3", "at least 4")),
        ({"image_size": [28]}, ("image_size is [28]", "height and width")),
        ({"std": [0.0]}, ("std is [0.0]", "above 0")),
        ({"mean": [float("inf")]}, ("mean is [inf]", "finite")),
        ({"mean": [10**400]}, ("mean is", "")),
        ({"imagesize": 9}, ("'imagesize' is unknown (did you mean 'image_size'?)", "mean, std")),
        ({"fit": "zoom"}, ("fit is 'zoom'", "'stretch', 'crop' or 'pad'")),
        ({"fit": "pad"}, ("fit is 'pad'", "needs an image_size")),
        ({"background": [0, 0, 256]}, ("background is [0, 0, 256]", "red, green and blue")),
        ({"background": -1}, ("background is -1", "red, green and blue")),
        ({"values": [1, 1]}, ("values is [1, 1]", "black has to be below white")),
        ({"values": [0, 1]}, ("'values' goes with source folder",)),
        ({"test": 1.5}, ("test is 1.5", "a share of every class")),
        ({"test": "validation"}, ("'test' goes with source folder",)),
        ({"path": "x"}, ("'path' goes with source folder or npz",)),
        ({"name": "a\nb"}, ("a\\nb", "letters, digits")),
    ],
)
def test_options_that_make_no_sense(options, parts):
    for call in (sources.look, sources.content, sources.read):
        if call is sources.content and "mean" in options:
            continue
        one_line(partial(call, {"source": "digits", **options}), *parts)


def test_a_new_source_is_one_module(tmp_path, monkeypatch):
    shutil.copyfile(ROOT / "tests/examples/source.py", tmp_path / "shapes.py")
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])
    try:
        assert sources.names()[-4:] == ["digits", "shapes", "folder", "npz"]
        facts = sources.look({"name": "shapes"})
        assert sources.without_path()["shapes"] == facts
        assert sources.module_name("shapes") == "dclib.data.sources.shapes"
        assert sources.content({"name": "shapes"}) == []
        data = read("shapes")
        counts = torch.bincount(data.train_labels)
        assert facts == (data.channels, data.image_size, int(counts.min()))
        assert data.class_names == ("square", "disc", "cross")
        assert data.fingerprint == read("shapes").fingerprint
        one_line(lambda: read("shape"), "did you mean 'shapes'?")
    finally:
        sys.modules.pop("dclib.data.sources.shapes", None)


def test_sampling_is_by_class_and_without_replacement(digits):
    chosen = digits.sample(100, torch.Generator().manual_seed(0))
    for label, indices in enumerate(chosen):
        assert len(indices) == len(indices.unique()) == 100
        assert (digits.train_labels[indices] == label).all()
    everything = digits.sample(10_000, torch.Generator().manual_seed(0))
    assert sum(map(len, everything)) == len(digits.train_labels)
