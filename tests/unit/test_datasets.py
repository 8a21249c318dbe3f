"""Reading data sets, refusing damaged ones, and the prepared file."""

import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image

from dclib.data import datasets, readers
from dclib.data.datasets import ImageDataset
from dclib.data.readers import read
from dclib.errors import InputError

REAL = Path(os.environ.get(readers.DATA_DIR_VARIABLE, "data"))


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
    monkeypatch.setattr(readers.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize(
    ("name", "folder", "channels", "size", "train", "test"),
    [
        ("MNIST", "MNIST", 1, 28, 60_000, 10_000),
        ("FashionMNIST", "FashionMNIST", 1, 28, 60_000, 10_000),
        ("CIFAR10", "cifar-10-batches-py", 3, 32, 50_000, 10_000),
    ],
)
def test_real_files(name, folder, channels, size, train, test):
    if not (REAL / folder).is_dir():
        pytest.skip(f"no {name} in {REAL} (${readers.DATA_DIR_VARIABLE})")
    data = read(name, data_dir=REAL)
    assert data.train_images.shape == (train, channels, size, size)
    assert data.test_images.shape == (test, channels, size, size)
    assert torch.bincount(data.test_labels).tolist() == [1000] * 10 or name == "MNIST"
    assert len(data.class_names) == 10
    normalised = data.normalise(data.train_images[:5000])
    assert normalised.mean().abs() < 0.05
    assert (normalised.std() - 1).abs() < 0.3  # CIFAR10's published std is that of an image
    assert np.allclose(readers._statistics(data.train_images)[0], data.mean, atol=1e-3)


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
    for name in datasets.TENSOR_NAMES:
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
            readers.DATA_DIR_VARIABLE,
            "no network",
        )


def test_a_data_dir_in_a_home_that_is_not_known():
    one_line(lambda: read("MNIST", data_dir="~nobody9/x"), "MNIST", "~nobody9/x", "home")


def test_data_dir_comes_from_the_environment(tmp_path, monkeypatch, no_network):
    monkeypatch.setenv(readers.DATA_DIR_VARIABLE, str(tmp_path / "elsewhere"))
    one_line(lambda: read("MNIST"), tmp_path / "elsewhere")


def write_mnist(root, images=20):
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split in ("train", "t10k"):
        pixels = np.zeros((images, 28, 28), np.uint8)
        header = np.array([0x803, images, 28, 28], ">i4").tobytes()
        (raw / f"{split}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = (np.arange(images) % 10).astype(np.uint8)
        header = np.array([0x801, images], ">i4").tobytes()
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return raw


def test_truncated_mnist(tmp_path):
    raw = write_mnist(tmp_path)
    assert len(read("MNIST", data_dir=tmp_path).train_images) == 20
    images = raw / "train-images-idx3-ubyte"
    content = images.read_bytes()
    for size in (0, 3, 10, len(content) - 1):
        images.write_bytes(content[:size])
        one_line(
            lambda: read("MNIST", data_dir=tmp_path), "train-images-idx3-ubyte", "corrupt", raw
        )
    images.write_bytes(content)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x14")
    one_line(lambda: read("MNIST", data_dir=tmp_path), "t10k-labels-idx1-ubyte")


def test_damaged_cifar(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, _ in torchvision.datasets.CIFAR10.train_list:
        (folder / name).write_bytes(pickle.dumps({"data": 1}))
    one_line(lambda: read("CIFAR10", data_dir=tmp_path), folder / "data_batch_1", "is corrupt")


def test_download_is_retried(monkeypatch):
    monkeypatch.setattr(readers.time, "sleep", lambda seconds: None)
    calls = []

    def flaky():
        calls.append(1)
        if len(calls) < 3:
            raise OSError("connection reset")
        return "data"

    assert readers._retry(flaky) == "data"
    assert len(calls) == 3
    with pytest.raises(ZeroDivisionError):
        readers._retry(lambda: 1 / 0)


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


def test_other_faults(tmp_path):
    path = tmp_path / "own.npz"
    one_line(lambda: read("npz", path=path), path, "no file")
    path.write_bytes(b"PK rubbish")
    one_line(lambda: read("npz", path=path), path, "corrupt")
    one_line(lambda: read("folder", name="pets"), "pets", "needs a path")
    one_line(lambda: read("MNITS"), "MNITS", "did you mean 'MNIST'")
    one_line(lambda: read("digits", mean=[0.1, 0.2], std=[1, 1]), "1 channels")


def test_sampling_is_by_class_and_without_replacement(digits):
    chosen = digits.sample(100, torch.Generator().manual_seed(0))
    for label, indices in enumerate(chosen):
        assert len(indices) == len(indices.unique()) == 100
        assert (digits.train_labels[indices] == label).all()
    everything = digits.sample(10_000, torch.Generator().manual_seed(0))
    assert sum(map(len, everything)) == len(digits.train_labels)
