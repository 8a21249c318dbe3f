"""Sets of others: every structure of a file, brought to the same set, or refused in one line."""

import contextlib
import dataclasses
import logging
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

import dclib
from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError
from dclib.methods.imported import formats, method, places
from dclib.methods.imported.settings import Settings
from dclib.methods.random import method as random
from dclib.seeding import Streams

IPC = 2


@pytest.fixture(scope="module")
def chosen(digits):
    return random.select(digits, IPC, Streams("set"))


@pytest.fixture(scope="module")
def shuffled(chosen):
    order = torch.randperm(len(chosen.labels), generator=torch.Generator().manual_seed(0))
    return chosen.images[order], chosen.labels[order]


def pixels(images, data):
    return images * data.std[0] + data.mean[0]


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, 10).float()


def authors(path, images, labels, data):
    """As the authors of DC write it: five experiments, accuracies as NumPy scalars."""
    accuracies = {"ConvNet": [np.float64(0.5 + 0.01 * i) for i in range(10)], "MLP": []}
    content = {"data": [[images + i, labels] for i in range(5)], "accs_all_exps": accuracies}
    torch.save(content, path / "res_DC_digits_ConvNet_2ipc.pt")
    return path / "res_DC_digits_ConvNet_2ipc.pt", {}


def old_container(path, images, labels, data):
    torch.save({"data": [[images, labels]]}, path / "x.pt", _use_new_zipfile_serialization=False)
    return path / "x.pt", {}


def mtt(path, images, labels, data):
    for name, tensor in (("images", images), ("labels", labels), ("lr", torch.tensor(0.03))):
        torch.save(tensor, path / f"{name}_best.pt")
    return path / "images_best.pt", {"space": "normalised"}


def idc(path, images, labels, data):
    torch.save([pixels(images, data), labels], path / "data.pt")
    return path / "data.pt", {}


def float_labels(path, images, labels, data):
    torch.save(images, path / "digits_IPC2_images.pt")
    torch.save(labels.float(), path / "digits_IPC2_labels.pt")
    return path / "digits_IPC2_images.pt", {"space": "normalised"}


def normalised_too(path, images, labels, data):
    """As DC-BENCH writes images twice, and labels once."""
    torch.save(pixels(images, data), path / "digits_IPC2_images.pt")
    torch.save(images, path / "digits_IPC2_normalize_images.pt")
    torch.save(labels, path / "digits_IPC2_labels.pt")
    return path / "digits_IPC2_normalize_images.pt", {"space": "normalised"}


def other_statistics(path, images, labels, data):
    torch.save({"data": [[(pixels(images, data) - 0.5) / 0.25, labels]]}, path / "x.pt")
    return path / "x.pt", {"mean": [0.5], "std": [0.25]}


def kip(path, images, labels, data):
    numbers = one_hot(labels).numpy() - 0.1
    np.savez(path / "kip.npz", images=images.permute(0, 2, 3, 1).numpy(), labels=numbers)
    return path / "kip.npz", {"space": "normalised", "labels": "hard"}


def logits(path, images, labels, data):
    torch.save(images, path / "images_best.pt")
    torch.save(40 * one_hot(labels), path / "labels_best.pt")  # their softmax is 1 and 0
    return path / "images_best.pt", {"space": "normalised", "labels": "logits"}


def ours(path, images, labels, data):
    order = labels.argsort(stable=True)
    SyntheticSet.like(data, images[order], labels[order]).save(path / "set.safetensors")
    return path / "set.safetensors", {}


def no_labels(path, images, labels, data):
    order = labels.argsort(stable=True)
    torch.save(images[order], path / "images_best.pt")
    return path / "images_best.pt", {"space": "normalised"}


WAYS = [authors, old_container, mtt, idc, float_labels, normalised_too, other_statistics, kip,
        logits, ours, no_labels]  # fmt: skip


@pytest.mark.parametrize("write", WAYS, ids=lambda way: way.__name__)
def test_every_structure_is_the_same_set(digits, chosen, shuffled, tmp_path, write):
    path, told = write(tmp_path, *shuffled, digits)
    made = method.load(path, Settings(file="x", **told), digits, IPC)
    labels = made.labels.argmax(1) if made.labels.is_floating_point() else made.labels
    assert torch.equal(labels, chosen.labels)
    # Within a class, images stay in the order of the file.
    order = shuffled[1].argsort(stable=True)
    torch.testing.assert_close(made.images, shuffled[0][order], rtol=0, atol=1e-6)
    assert (made.metadata["mean"], made.metadata["std"]) == (digits.mean, digits.std)
    assert made.labels.is_floating_point() == (write is logits)
    made.save(tmp_path / "made.safetensors")
    back = SyntheticSet.load(tmp_path / "made.safetensors")
    assert torch.equal(back.images, made.images)
    assert back.parameters.keys() == ({"lr"} if write is mtt else set())


def test_the_experiments_of_a_file_and_what_its_authors_measured(digits, shuffled, tmp_path):
    path, _ = authors(tmp_path, *shuffled, digits)
    settings = Settings(file="x", experiments=5)
    first, last = (method.load(path, settings, digits, IPC, k) for k in (0, 4))
    torch.testing.assert_close(last.images - first.images, torch.full_like(first.images, 4.0))
    assert last.metadata["authors_accuracies"]["ConvNet"] == pytest.approx([58.0, 59.0])
    with pytest.raises(InputError, match="holds 5 sets, so that there is none for seed 5"):
        method.load(path, settings, digits, IPC, 5)


def test_a_learning_rate_of_ones_own_wins(digits, shuffled, tmp_path):
    path, told = mtt(tmp_path, *shuffled, digits)
    made = method.load(path, Settings(file="x", **told), digits, IPC)
    assert float(made.parameters["lr"]) == pytest.approx(0.03)
    made = method.load(path, Settings(file="x", lr=0.2, **told), digits, IPC)
    assert float(made.parameters["lr"]) == pytest.approx(0.2)


def test_a_folder_of_pictures(digits, chosen, tmp_path, caplog):
    levels = (chosen.pixels() * 255).round().to(torch.uint8)
    for names, said in ((digits.class_names, ""), ([f"new{i}" for i in range(10)], "new0, ...")):
        folder = tmp_path / names[1]
        for i, (image, label) in enumerate(zip(levels, chosen.labels, strict=True)):
            place = folder / names[int(label)]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(place / f"{i}.png")
        (folder / ".DS_Store").write_text("x")
        with caplog.at_level(logging.WARNING):
            made = method.load(folder, Settings(file="x"), digits, IPC)
        assert torch.equal(made.labels, chosen.labels)
        torch.testing.assert_close(made.pixels(), levels / 255, rtol=0, atol=1e-6)
        assert said in caplog.text
        assert len(places.files_of(folder)) == 20


def test_small_images_in_one_are_taken_apart_and_enlarged(digits, tmp_path):
    """Four constant quarters become four constant images, with the label of their one."""
    quarters = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    images = quarters.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.save([images, torch.arange(10).repeat_interleave(2)], tmp_path / "data.pt")
    made = method.load(tmp_path / "data.pt", Settings(file="x", factor=2), digits, IPC)
    assert made.images.shape == (80, 1, 8, 8)
    expected = quarters.flatten()[:, None, None, None].expand(80, 1, 8, 8)
    torch.testing.assert_close(made.pixels(), expected, rtol=0, atol=1e-5)
    assert made.labels.tolist() == torch.arange(10).repeat_interleave(8).tolist()
    # Bilinear, by hand: a quarter that is a ramp.
    ramp = torch.zeros(20, 1, 8, 8)
    ramp[:, 0, :4, :4] = torch.tensor([0.0, 0.2, 0.4, 0.6])
    torch.save([ramp, torch.arange(10).repeat_interleave(2)], tmp_path / "data.pt")
    made = method.load(tmp_path / "data.pt", Settings(file="x", factor=2), digits, IPC)
    row = made.images[0, 0, 3] * digits.std[0] + digits.mean[0]
    expected = torch.tensor([0.0, 0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.6])
    torch.testing.assert_close(row, expected, rtol=0, atol=1e-5)


class Harmful:
    def __reduce__(self):
        return print, ("this ran",)


def refused(images, labels):
    """Files that are no sets, or not of this data set, and what is said of each."""
    return {
        "holds no pairs": {"data": [[images]]},
        "holds a dict with a; known are": {"a": 1},
        "holds a int; known are": 3,
        r"its images are \(1, 9, 9\), those of data set 'digits' \(1, 8, 8\)": {
            "data": [[torch.randn(20, 1, 9, 9), labels]]
        },
        r"its images are torch.float32 of shape \(20, 64\), not \[n, channels": {
            "data": [[images.flatten(1), labels]]
        },
        "its images are torch.complex64 of": {"data": [[images.to(torch.complex64), labels]]},
        "holds no pairs of images": {"data": []},
        "holds no pairs of images and": {"data": None},
        "20 images and 19 labels": {"data": [[images, labels[1:]]]},
        "its labels go from 1 to 10; data set 'digits' has classes 0 to 9": {
            "data": [[images, labels + 1]]
        },
        "its labels are no whole numbers": {"data": [[images, labels + 0.5]]},
        r"its labels are of shape \(20, 7\); .* 10 classes": {
            "data": [[images, torch.rand(20, 7)]]
        },
        "neither classes nor probabilities, .* say `labels: logits`": {
            "data": [[images, torch.randn(20, 10)]]
        },
        "has 1 images of class '0' and 2 of class '1'; allowed are as many of each": {
            "data": [[images[1:], labels[1:]]]
        },
        "has 10 images, not 2 of each of the 10 classes; {ipc} in": {
            "data": [[images[::2], labels[::2]]]
        },
        "not all finite": {"data": [[images / 0, labels]]},
        "as pixels do, and files of its kind have normalised ones": {
            "data": [[images.clamp(0, 1), labels]]
        },
        "pixels from 0 to 1; divide them by 255": [images.abs() * 255, labels],
        "pixels from 0 to 1; or say `space: normalised`": [images, labels],
        "does not say whether its images": images,
        "no file of PyTorch that holds tensors and numbers alone": {"data": Harmful()},
    }


CASES = [*refused(torch.zeros(20, 1, 8, 8), torch.zeros(20).long())]


@pytest.mark.parametrize("fault", CASES)
def test_what_does_not_fit_is_refused(digits, chosen, tmp_path, fault, capsys):
    content = refused(chosen.images, chosen.labels)[fault]
    torch.save(content, tmp_path / "images.pt")
    torch.save(chosen.labels, tmp_path / "labels.pt")
    with pytest.raises(InputError, match=fault) as raised:
        method.load(tmp_path / "images.pt", Settings(file="x"), digits, IPC)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(str(tmp_path))
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x00" * 100])
@pytest.mark.parametrize("name", ["x.pt", "x.npz", "x.safetensors"])
def test_damaged_files_are_refused(digits, tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as raised:
        method.load(tmp_path / name, Settings(file="x", space="pixels"), digits, IPC)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rate", "told"),
    [
        (torch.tensor(-1.0), "is -1.0; allowed is a finite number above 0"),
        (torch.tensor(float("inf")), "is inf; allowed is a finite number above 0"),
        (torch.tensor(1e-60, dtype=torch.float64), "is 1e-60; allowed is a finite number above 0"),
        (torch.zeros(0), "is nan; allowed is a finite number above 0"),
        ("fast", "is nan; allowed is a finite number above 0"),
    ],
)
def test_a_learning_rate_is_a_number_where_it_is_used(digits, chosen, tmp_path, rate, told):
    path = tmp_path / "images_best.pt"
    chosen.export(path)
    torch.save(rate, tmp_path / "lr_best.pt")
    with pytest.raises(InputError) as raised:
        dclib.load_set(path, digits, space="normalised")
    assert f"the learning rate beside it {told}" in str(raised.value)
    mended = dclib.load_set(path, digits, space="normalised", lr=0.5)
    assert float(mended.parameters["lr"]) == 0.5
    assert len(dclib.load(path)) == len(chosen.images)


def test_numbers_of_an_npz_in_any_form(chosen, tmp_path):
    images, labels = chosen.images.permute(0, 2, 3, 1).numpy(), chosen.labels.numpy()
    for kind, other in ((">f8", ">i4"), ("<f2", "u8"), ("g", "f4")):
        np.savez(tmp_path / "x.npz", images=images.astype(kind), labels=labels.astype(other))
        _, (found,) = formats.read(tmp_path / "x.npz")
        torch.testing.assert_close(found.images, chosen.images, rtol=1e-3, atol=1e-3)
        assert found.labels.tolist() == labels.tolist()
    for name, array in (("images", images.astype(complex)), ("labels", labels.astype(str))):
        np.savez(tmp_path / "x.npz", **{"images": images, "labels": labels, name: array})
        with pytest.raises(InputError, match=f"x.npz: its {name} are .*; allowed are numbers"):
            formats.read(tmp_path / "x.npz")


def test_accuracies_that_are_none_are_passed_over(chosen, tmp_path):
    for accuracies in (None, 3, [0.5], {"ConvNet": "high"}):
        content = {"data": [[chosen.images, chosen.labels]], "accs_all_exps": accuracies}
        torch.save(content, tmp_path / "x.pt")
        _, (found,) = formats.read(tmp_path / "x.pt")
        assert not found.accuracies


@pytest.mark.parametrize("odd", [28.3, -0.1, float("nan")])
def test_accuracies_that_are_no_fractions_are_left_out(digits, chosen, tmp_path, caplog, odd):
    """No table could be drawn up with them, after all networks are trained."""
    content = {"data": [[chosen.images, chosen.labels]], "accs_all_exps": {"MLP": [0.5, odd]}}
    torch.save(content, tmp_path / "x.pt")
    made = method.load(tmp_path / "x.pt", Settings(file="x"), digits, IPC)
    assert "authors_accuracies" not in made.metadata
    assert f"x.pt: the accuracies in it are left out: {odd:g} is not from 0 to 1" in caplog.text


def test_what_was_imported_is_imported_again(digits, tmp_path):
    """Small images in one are stored as they are trained on, and these are more of a class."""
    small = torch.rand(10, 1, 8, 8)
    torch.save([small, torch.arange(10)], tmp_path / "data.pt")
    made = method.load(tmp_path / "data.pt", Settings(file="x", factor=2), digits, 1)
    made.save(tmp_path / "made.safetensors")
    for again in (1, 2):
        back = method.load(tmp_path / "made.safetensors", Settings(file="x"), digits, 1)
        assert torch.equal(back.images, made.images), again
        assert len(back.images) == 40
        back.save(tmp_path / "made.safetensors")
    read = dclib.load_set(tmp_path / "made.safetensors", digits)
    assert torch.equal(read.images, made.images)
    assert read.metadata["ipc"] == 1
    for odd in (None, [2], "x", -2):
        made.with_metadata(imported_factor=odd).save(tmp_path / "odd.safetensors")
        with pytest.raises(InputError, match="has 40 images, not 1 of each of"):
            method.load(tmp_path / "odd.safetensors", Settings(file="x"), digits, 1)
    with pytest.raises(InputError, match="has 40 images, not 8 of each of the 10 classes"):
        method.load(tmp_path / "made.safetensors", Settings(file="x"), digits, 2)


def test_nothing_of_an_npz_is_unpickled(digits, tmp_path):
    np.savez(tmp_path / "x.npz", images=np.array([Harmful()], dtype=object))
    with pytest.raises(InputError, match=r"no \.npz of numbers alone"):
        method.load(tmp_path / "x.npz", Settings(file="x"), digits, IPC)


def test_what_is_doubtful_is_warned_of(digits, chosen, tmp_path, caplog):
    torch.save({"data": [[chosen.images.clamp(0, 1), chosen.labels]]}, tmp_path / "x.pt")
    with caplog.at_level(logging.WARNING):
        method.load(tmp_path / "x.pt", Settings(file="x", space="normalised"), digits, IPC)
    assert "normalised images usually go beyond 0 to 1" in caplog.text
    three = Settings(file="x", space="normalised", mean=(0.1, 0.2, 0.3), std=(0.1, 0.2, 0.3))
    with pytest.raises(
        InputError, match=r"x\.pt: `mean` has 3 numbers, and images of 'digits' have"
    ):
        method.load(tmp_path / "x.pt", three, digits, IPC)


def test_statistics_are_used_or_refused(digits, shuffled, tmp_path, caplog):
    path, _ = idc(tmp_path, *shuffled, digits)
    with pytest.raises(
        InputError, match="its images are pixels, which are normalised by no `mean`"
    ):
        method.load(path, Settings(file="x", mean=(0.5,), std=(0.25,)), digits, IPC)
    with pytest.raises(ValidationError, match="mean and std go together; allowed is both of them"):
        Settings(file="x", mean=(0.5,))
    path, _ = authors(tmp_path, *shuffled, digits)
    method.load(path, Settings(file="x"), dataclasses.replace(digits, name="CIFAR100"), IPC)
    assert (
        "many sets of CIFAR100 are by the numbers of CIFAR10: say `mean` and `std`" in caplog.text
    )


def test_pixels_brought_back_from_whitening_are_told(digits, shuffled, tmp_path):
    torch.save(shuffled[0], tmp_path / "images_zca_best.pt")
    torch.save(shuffled[1], tmp_path / "labels_zca_best.pt")
    with pytest.raises(
        InputError, match=r"pixels from 0 to 1; .* take its `images_best\.pt` instead"
    ):
        method.load(
            tmp_path / "images_zca_best.pt", Settings(file="x", space="pixels"), digits, IPC
        )


def test_a_set_of_ours_with_its_classes_in_another_order(digits, chosen, tmp_path):
    other = chosen.with_metadata(class_names=[*reversed(chosen.metadata["class_names"])])
    other.save(tmp_path / "other.safetensors")
    made = method.load(tmp_path / "other.safetensors", Settings(file="x"), digits, IPC)
    made.save(tmp_path / "made.safetensors")
    back = SyntheticSet.load(tmp_path / "made.safetensors")
    assert torch.equal(back.labels, chosen.labels)
    by_class = chosen.images.view(10, IPC, *chosen.images.shape[1:])
    assert torch.equal(back.images, by_class.flip(0).flatten(0, 1))


def test_kinds_are_named(tmp_path, chosen):
    torch.save({"data": [[chosen.images, chosen.labels]]}, tmp_path / "x.pt")
    kind, found = formats.read(tmp_path / "x.pt")
    assert (kind, len(found), found[0].space) == ("a file of DC, DSA or DM", 1, "normalised")


@pytest.mark.parametrize("name", ["set.pt", "images_best.pt", "set.npz", "set.zip", "pictures"])
def test_an_export_comes_back(digits, chosen, tmp_path, name):
    """Exactly; of pictures, to the level of every pixel."""
    chosen.export(tmp_path / name)
    path = tmp_path / name
    if name.endswith("zip"):
        zipfile.ZipFile(path).extractall(tmp_path / "unpacked")
        path = tmp_path / "unpacked"
    space = "normalised" if name in ("images_best.pt", "set.npz") else None
    made = method.load(path, Settings(file="x", space=space), digits, IPC)
    assert torch.equal(made.labels, chosen.labels)
    if name in ("set.zip", "pictures"):
        assert torch.equal((made.pixels() * 255).round(), (chosen.pixels() * 255).round())
    else:
        assert torch.equal(made.images, chosen.images)
    if name.endswith("pt"):
        torch.load(path, weights_only=True)


def test_an_export_leaves_nothing_of_the_one_before(digits, chosen, tmp_path):
    path, told = tmp_path / "images_best.pt", Settings(file="x", space="normalised")
    dataclasses.replace(chosen, parameters={"lr": torch.tensor(0.25)}).export(path)
    chosen.export(path)
    assert not method.load(path, told, digits, IPC).parameters
    chosen.export(tmp_path / "pictures")
    with pytest.raises(InputError, match="pictures: has files already; allowed is a new or an"):
        chosen.export(tmp_path / "pictures")


def test_an_export_is_no_larger_than_its_set(chosen, tmp_path):
    many = dataclasses.replace(
        chosen, images=chosen.images.repeat(50, 1, 1, 1)[: len(chosen.images)]
    )
    for name in ("set.pt", "images_best.pt"):
        many.export(tmp_path / name)
        assert (tmp_path / name).stat().st_size < 2 * chosen.images.nbytes
    half = dataclasses.replace(chosen, images=chosen.images.bfloat16())
    half.export(tmp_path / "half.npz")
    half.save(tmp_path / "half.safetensors")
    assert torch.equal(SyntheticSet.load(tmp_path / "half.safetensors").images, half.images)


def test_an_export_that_fails_is_told(chosen, tmp_path, monkeypatch):
    def full(content, stream):
        stream.write(b"some of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=r"set.pt: cannot be written \(No space left on device\)"):
        chosen.export(tmp_path / "set.pt")
    assert not [*tmp_path.iterdir()]


def test_pixels_to_255_are_no_normalised_images(digits, chosen, tmp_path):
    for images in ((chosen.pixels() * 255).to(torch.uint8), chosen.pixels() * 255):
        torch.save({"data": [[images, chosen.labels]]}, tmp_path / "x.pt")
        with pytest.raises(
            InputError, match=r"normalised .* pixels mostly from .* instead of 0 to 1"
        ):
            dclib.load_set(tmp_path / "x.pt", digits)
    torch.save({"data": [[torch.randn_like(chosen.images), chosen.labels]]}, tmp_path / "x.pt")
    dclib.load_set(tmp_path / "x.pt", digits)


def test_probabilities_are_no_logits(digits, chosen, tmp_path):
    logits = 4 * one_hot(chosen.labels)
    torch.save([chosen.pixels(), logits], tmp_path / "x.pt")
    made = dclib.load_set(tmp_path / "x.pt", digits, labels="logits")
    torch.testing.assert_close(made.labels, logits.softmax(1))
    made.export(tmp_path / "y.pt")
    assert torch.equal(dclib.load_set(tmp_path / "y.pt", digits).labels, made.labels)
    with pytest.raises(InputError, match="its labels are probabilities already, and no logits"):
        dclib.load_set(tmp_path / "y.pt", digits, labels="logits")


def test_pictures_of_a_set_are_read_as_those_of_data(digits, tmp_path):
    """Grey ones that a program wrote in colour, 16 bits, transparency, palettes."""
    grey = np.random.default_rng(0).integers(256, size=(10, 8, 8), dtype=np.uint8)
    colour = {
        "colour": grey[..., None].repeat(3, 3),
        "deep": grey.astype(np.uint16) * 257,
        "grey": grey,
    }
    for name, images in colour.items():
        for label, image in enumerate(images):
            place = tmp_path / name / str(label)
            place.mkdir(parents=True)
            Image.fromarray(image).save(place / "0.png")
        made = method.load(tmp_path / name, Settings(file="x"), digits, 1)
        assert torch.equal((made.pixels()[:, 0] * 255).round().byte(), torch.from_numpy(grey)), name
    clear = Image.fromarray(np.zeros((8, 8, 4), np.uint8))
    clear.save(tmp_path / "deep/3/0.png")
    made = method.load(tmp_path / "deep", Settings(file="x"), digits, 1)
    assert made.pixels()[3].min() > 0.999
    (tmp_path / "deep/3/0.png").write_bytes((tmp_path / "deep/4/0.png").read_bytes()[:30])
    with pytest.raises(InputError, match=r"^[^:]*deep/3/0\.png is not a readable image"):
        method.load(tmp_path / "deep", Settings(file="x"), digits, 1)
    (tmp_path / "grey/0").rename(tmp_path / "grey/1²")
    _, (found,) = formats.read(tmp_path / "grey")
    assert found.class_names == ["1", "1²", *"23456789"]


def test_any_flipped_byte_of_an_npz_is_told_or_harmless(chosen, tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=chosen.images.permute(0, 2, 3, 1).numpy())
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        with contextlib.suppress(InputError):
            formats.read(path)


def test_an_export_has_the_rest_of_a_set(digits, chosen, tmp_path):
    soft = dataclasses.replace(
        chosen, labels=one_hot(chosen.labels), parameters={"lr": torch.tensor(0.25)}
    )
    soft.export(tmp_path / "images_best.pt")
    made = method.load(
        tmp_path / "images_best.pt", Settings(file="x", space="normalised"), digits, IPC
    )
    assert torch.equal(made.labels, soft.labels)
    assert float(made.parameters["lr"]) == 0.25
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    for path in (first, second):
        chosen.export(path)
    assert first.read_bytes() == second.read_bytes()
    odd = chosen.with_metadata(class_names=["a/b", *"123456789"])
    odd.export(tmp_path / "odd")
    assert {path.name for path in (tmp_path / "odd").iterdir()} == {
        f"class{label:03d}" for label in range(10)
    }
    with pytest.raises(InputError, match=r"exported to \.pt, .* and not to '\.bin'"):
        chosen.export(tmp_path / "x.bin")


def test_a_set_for_other_peoples_training(chosen, tmp_path):
    for name in ("set.safetensors", "set.pt"):
        (chosen.save if name.endswith("safetensors") else chosen.export)(tmp_path / name)
        loaded = dclib.load(tmp_path / name)
        image, label = loaded[3]
        assert torch.equal(image, chosen.images[3])
        assert label == chosen.labels[3]
        assert len(torch.utils.data.DataLoader(loaded, batch_size=5)) == 4
    with pytest.raises(InputError, match="no-such"):
        dclib.load(tmp_path / "no-such.pt")


def test_more_than_one_set_and_one_of_ours(digits, shuffled, chosen, tmp_path, caplog):
    path, _ = authors(tmp_path, *shuffled, digits)
    method.load(path, Settings(file="x"), digits, IPC)
    assert "holds 5 sets, of which the first is taken; `experiments: 5`" in caplog.text
    chosen.save(tmp_path / "set.safetensors")
    with pytest.raises(
        InputError, match="says itself what its images and labels are; leave out lr"
    ):
        method.load(tmp_path / "set.safetensors", Settings(file="x", lr=0.1), digits, IPC)
    torch.save({"data": [[pixels(*shuffled[:1], digits) - 0.01, shuffled[1]]]}, path)
    with pytest.raises(InputError, match="as pixels do, and files of its kind have normalised"):
        method.load(path, Settings(file="x"), digits, IPC)
    settings = Settings(file="x", space="pixels", labels="logits")
    with pytest.raises(InputError, match="and no logits; leave out 'labels'"):
        method.load(path, settings, digits, IPC)
    assert (tmp_path / "set.safetensors").stat().st_mode & 0o777 == path.stat().st_mode & 0o777
