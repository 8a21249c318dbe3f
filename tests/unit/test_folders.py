"""What is read of a user's own files: links are followed, not in a circle; nothing else counts."""

import logging
import os
import shutil
from collections import Counter
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


# What systems and editors leave behind


LEFT = [
    ".DS_Store", "train/cat/.DS_Store", "train/cat/Thumbs.db", "train/cat/desktop.ini",
    "train/cat/._0.bmp", "train/__MACOSX/cat/._0.bmp", "test/__MACOSX/cat/0.bmp",
    "train/.ipynb_checkpoints/0-checkpoint.bmp", "train/cat/.ipynb_checkpoints/0-checkpoint.bmp",
    "train/cat/.Trash-1000/files/old.bmp", "train/cat/@eaDir/0.bmp/SYNOPHOTO_THUMB_S.png",
    "train/$RECYCLE.BIN/0.bmp", "train/cat/.~lock.0.bmp#", "train/cat/~$0.bmp", "train/cat/#0.bmp#",
    "train/cat/0.bmp~", "train/.hidden/0.bmp", ".Trash-1000/train/0.bmp", "train/THUMBS.DB",
]  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_what_nobody_took_for_an_image_is_passed_over(own, name, caplog):
    before, root = sources.read(own), Path(own["path"])
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "train/dog/0.bmp", root / name)
    found = names(own)
    with caplog.at_level(logging.INFO):
        data = sources.read(own)
    assert (data.fingerprint, data.class_names) == (before.fingerprint, ("cat", "dog"))
    assert len(found) == 4
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    if name.startswith("t"):
        assert "left out are 1 hidden or a system's" in caplog.text


def test_names_that_only_look_like_those_are_read(own):
    root = Path(own["path"], "train/cat")
    kept = ["Thumbs.db.bmp", "a.DS_Store.png", "#1.bmp", "~1.bmp", "$1.bmp", "macosx.bmp", "a~.bmp"]
    for name in kept:
        shutil.copy(root / "0.bmp", root / name)
    assert len(names(own)) == 4 + len(kept)


def test_files_that_are_left_out_are_counted(own, caplog):
    """In the log by suffix, and as a warning where any may be an image."""
    root = Path(own["path"])
    for name in ("train/list.csv", "train/cat/a.txt", "test/dog/b.TXT", "test/dog/.x"):
        (root / name).write_bytes(b"x")
    with caplog.at_level(logging.INFO):
        sources.read(own)
    (record,) = [r for r in caplog.records if "left out" in r.getMessage()]
    assert record.levelno == logging.INFO
    assert "left out are 1 .csv, 2 .txt, 1 hidden" in record.getMessage()
    for name in ("train/cat/1.heic", "train/cat/2.HEIC", "train/dog/IMG", "train/a.gif"):
        caplog.clear()
        (root / name).write_bytes(b"x")
        with caplog.at_level(logging.INFO):
            sources.read(own)
        (record,) = [r for r in caplog.records if "left out" in r.getMessage()]
        assert record.levelno == logging.WARNING
    told = record.getMessage()
    assert "1 without suffix, 1 .csv, 1 .gif, 2 .heic, 2 .txt" in told
    shutil.copy(root / "train/cat/0.bmp", root / "train")
    with caplog.at_level(logging.WARNING):
        sources.read(own)
    assert "1 images outside the folders of classes" in caplog.text


# Splits


@pytest.mark.parametrize(("train", "test"), [("Train", "TEST"), ("TRAIN", "Test")])
def test_splits_are_written_in_any_case(own, train, test):
    before, root = sources.read(own), Path(own["path"])
    (root / "train").rename(root / train)
    (root / "test").rename(root / test)
    assert sources.read(own).fingerprint == before.fingerprint


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_a_validation_split_is_read_as_such_or_tested_on(own, name):
    """Beside a test split it is the validation split; without one it may be tested on."""
    before, root = sources.read(own), Path(own["path"])
    shutil.copytree(root / "test", root / name)
    data = sources.read(own)
    assert data.validation_images.equal(before.test_images)
    assert data.validation_labels.equal(before.test_labels)
    assert data.train_images.equal(before.train_images)
    shutil.rmtree(root / "test")
    with pytest.raises(InputError, match="or say `test: validation` to test on"):
        sources.look(own)
    assert sources.read({**own, "test": "validation"}).fingerprint == before.fingerprint
    both = sources.read({**own, "test": "validation"})
    assert both.validation_images is None


def test_a_validation_split_without_classes_is_left_out(own, caplog):
    before, root = sources.read(own), Path(own["path"])
    (root / "val").mkdir()
    shutil.copy(root / "test/cat/0.bmp", root / "val")
    with caplog.at_level(logging.WARNING):
        assert sources.read(own).fingerprint == before.fingerprint
    assert "1 images outside the folders of classes" in caplog.text


@pytest.fixture
def alone(tmp_path):
    """Classes of 5, 10 and 21 pictures, each of another grey, in one folder."""
    grey = 0
    for name, count in (("a", 5), ("b", 10), ("c", 21)):
        (tmp_path / "alone" / name).mkdir(parents=True)
        for i in range(count):
            grey += 1
            Image.new("L", (4, 4), grey).save(tmp_path / f"alone/{name}/{i}.png")
    return {"name": "alone", "source": "folder", "path": tmp_path / "alone", "test": 0.2}


def greys(images):
    return set(images[:, 0, 0, 0].tolist())


def test_one_folder_is_split_by_class_and_seed(alone):
    data = sources.read(alone)
    assert Counter(data.test_labels.tolist()) == {0: 1, 1: 2, 2: 4}
    assert (
        sources.look(alone).smallest_class == 4 == min(Counter(data.train_labels.tolist()).values())
    )
    assert greys(data.train_images) | greys(data.test_images) == set(range(1, 37))
    assert not greys(data.train_images) & greys(data.test_images)
    assert sources.read({**alone, "split_seed": 0}).fingerprint == data.fingerprint
    others = [sources.read({**alone, "split_seed": seed}) for seed in (1, 2)]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 3
    assert len(names(alone)) == 36
    root = Path(alone["path"])
    (root / "train").mkdir()
    for name in "abc":
        (root / name).rename(root / "train" / name)
    assert Counter(sources.read(alone).test_labels.tolist()) == {0: 1, 1: 2, 2: 4}  # train alone


def test_a_class_that_is_called_as_a_split(alone):
    root = Path(alone["path"])
    (root / "a").rename(root / "train")
    with pytest.raises(
        InputError, match=r"/train would be the split, or a class as .*/b beside it"
    ):
        sources.read(alone)
    for name in "bc":
        (root / name).rename(root / "train" / name)
    (root / "notes").mkdir()
    (root / "notes/readme.txt").touch()
    assert len(sources.read(alone).class_names) == 2


def test_the_split_stays_where_other_images_come(alone):
    """It goes by names: of the nine that were tested on, hardly one changes for a new image."""
    alone["test"] = 0.5
    before, root = sources.read(alone), Path(alone["path"])
    Image.new("L", (4, 4), 99).save(root / "c/new.png")
    after = sources.read(alone)
    assert len(greys(before.test_images) - greys(after.test_images)) <= 1


def test_what_cannot_be_split(alone, own):
    for i in range(1, 5):
        Path(alone["path"], f"a/{i}.png").unlink()
    with pytest.raises(InputError, match=r"class 'a' has one image, of which test \(0.2\)"):
        sources.look(alone)
    for test in (0.2, "validation"):
        with pytest.raises(InputError, match=r"there is a test split, .*/test; allowed is one"):
            sources.look({**own, "test": test})
