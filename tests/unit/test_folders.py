"""What is read of a user's own files: links are followed, not in a circle; nothing else counts."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dclib import files, provenance
from dclib.data import sources
from dclib.data.datasets import ImageDataset
from dclib.errors import InputError


@pytest.fixture
def own(tmp_path):
    """Four pictures of cats and dogs, and how to ask for them."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(("train/cat/0", "train/dog/0", "test/cat/0", "test/dog/0")):
        path = tmp_path / f"own/{name}.bmp"
        path.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(256, size=(4, 4), dtype=np.uint8) + i).save(path)
    return {"name": "own", "source": "folder", "path": str(tmp_path / "own")}


def digest(options):
    return provenance.digest(
        [(name, files.sha256(path)) for name, path in sources.content(options)]
    )


def names(options):
    return [name for name, _ in sources.content(options)]


def test_images_are_found_in_order_and_through_links(own, tmp_path):
    root = tmp_path / "own/train/cat"
    for name in ("b/2.png", "b/1.png", "a.JPG"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / "0.bmp", root / name)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(root / "0.bmp", tmp_path / "elsewhere/3.bmp")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "d").symlink_to(tmp_path / "elsewhere")  # twice is no circle
    found = [name.removeprefix("train/cat/") for name in names(own) if "train/cat" in name]
    assert found == ["0.bmp", "a.JPG", "b/1.png", "b/2.png", "c/3.bmp", "d/3.bmp"]


def test_a_circle_is_refused(own, tmp_path):
    (tmp_path / "own/train/dog/again").symlink_to("..")
    (tmp_path / "own/train/cat/other").symlink_to("../dog")
    message = "data set 'own': .*/train/cat/other/again/cat: a link that leads back to .*/train/cat"
    for call in (sources.look, sources.content, sources.read):
        with pytest.raises(InputError, match=message):
            call(own)


def test_only_what_is_read_counts(own, tmp_path, monkeypatch):
    before, root = digest(own), tmp_path / "own"
    assert names(own) == [f"{s}/{c}/0.bmp" for s in ("test", "train") for c in ("cat", "dog")]
    for name in (".DS_Store", "README.txt", "train/list.csv", "train/cat/Thumbs.db"):
        (root / name).write_text("x")
    (root / "train/cat/.thumbnails").mkdir()
    (root / "validation").mkdir()
    shutil.copy(root / "test/cat/0.bmp", root / "validation")
    assert digest(own) == before
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("own")
    for path in ("own", "./own", "link", tmp_path / "x/../own"):
        (tmp_path / "x").mkdir(exist_ok=True)
        assert digest({"path": path, "source": "folder", "name": "own"}) == before
    shutil.copytree(root, tmp_path / "copy")
    assert digest({**own, "path": "copy"}) == before


@pytest.mark.parametrize("change", ["byte", "name", "class", "another"])
def test_everything_that_is_read_counts(own, tmp_path, change):
    before, root = digest(own), tmp_path / "own"
    picture = root / "train/cat/0.bmp"
    if change == "byte":
        content = bytearray(picture.read_bytes())
        content[-1] ^= 1
        picture.write_bytes(content)
    elif change == "name":
        picture.rename(picture.with_name("1.bmp"))
    elif change == "class":
        for split in ("train", "test"):
            (root / split / "cat").rename(root / split / "lion")
    else:
        shutil.copy(picture, picture.with_name("1.bmp"))
    assert digest(own) != before


def test_an_image_behind_a_link_counts(own, tmp_path):
    (tmp_path / "own/train").rename(tmp_path / "there")
    (tmp_path / "own/train").symlink_to(tmp_path / "there")
    before = digest(own)
    shutil.copy(tmp_path / "own/test/cat/0.bmp", tmp_path / "there/cat/0.bmp")
    assert digest(own) != before


def test_an_npz_counts_by_its_bytes_alone(tmp_path):
    labels = np.array([0, 1])
    images = np.zeros((2, 3, 3), np.uint8)
    for name in ("a.npz", "b.npz"):
        np.savez(
            tmp_path / name, train_images=images, train_labels=labels,
            test_images=images, test_labels=labels,
        )  # fmt: skip
    a, b = ({"name": "own", "source": "npz", "path": tmp_path / f"{name}.npz"} for name in "ab")
    assert digest(a) == digest(b)
    (tmp_path / "b.npz").write_bytes((tmp_path / "b.npz").read_bytes() + b"x")
    assert digest(a) != digest(b)


def test_public_data_have_no_files_of_their_own():
    assert sources.content({"name": "MNIST"}) == []
    assert sources.content({"name": "d", "source": "digits", "image_size": 16}) == []


def rename(own, old, new):
    for split in ("train", "test"):
        folder = Path(own["path"], split)
        (folder / old).rename(folder / os.fsdecode(new))


ODD = ["$5", "$x^$", r"$\frac{$", "cost_$1_$2", "a\nb", "a\\b", "100%", "{dataset}", "猫", "😀",
       "x" * 250, " ", "-rf", "\x1b[31mred", "\x1b]0;title\x07", "Cat", "CAT"]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_class_names_are_texts(own, name, tmp_path):
    rename(own, "dog", name.encode())
    assert sources.look(own).smallest_class == 1
    data = sources.read(own)
    assert set(data.class_names) == {"cat", name}
    data.save(tmp_path / "data.safetensors")
    assert ImageDataset.load(tmp_path / "data.safetensors").class_names == data.class_names


def test_class_names_that_are_no_texts(own):
    rename(own, "dog", b"caf\xe9")
    for call in (sources.look, sources.read):
        with pytest.raises(InputError, match=r"class 'caf\\udce9' has a name that is no text"):
            call(own)


@pytest.mark.parametrize("name", [b"\x1b[31mred", b"a\nb", b"\x1b]0;title\x07", b"caf\xe9"])
def test_messages_with_odd_names_are_one_printable_line(own, name):
    for split in ("train", "test"):
        Path(own["path"], split, os.fsdecode(name)).mkdir()
    for call in (sources.look, sources.content, sources.read):
        with pytest.raises(InputError, match="has no image; allowed are") as raised:
            call(own)
        assert str(raised.value).isprintable()
        assert str(raised.value).encode()


def test_images_with_names_that_are_no_texts_are_read(own):
    picture = Path(own["path"], "train/dog/0.bmp")
    picture.rename(picture.with_name(os.fsdecode(b"caf\xe9.bmp")))
    assert len(sources.read(own).train_images) == 2
    assert digest(own)
