"""Pixels as a viewer shows them: upright, in front of a background, with 8 bits, of one size."""

import logging
import os
import signal
import struct
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from dclib.data import datasets, pictures, sources
from dclib.data.datasets import ImageDataset
from dclib.data.pictures import Pictures
from dclib.data.sources.settings import Options
from dclib.errors import InputError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(256, size=(6, 10, 3), dtype=np.uint8)
GREY = RNG.integers(256, size=(6, 10), dtype=np.uint8)
# How a picture is stored of which EXIF says how to turn it: the inverse of what a viewer does.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


@pytest.fixture
def own(tmp_path):
    """Write the same picture into every class of both splits; return how to ask for them."""

    def make(write, suffix="png", **options):
        for split in ("train", "test"):
            for name in ("a", "b"):
                (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
                write(tmp_path / split / name / f"0.{suffix}")
        return {"name": "own", "source": "folder", "path": tmp_path, **options}

    return make


def first(options):
    """The first picture, which has the size that the plan was told; [height, width, channels]."""
    image = sources.read(options).train_images[0]
    facts = sources.look(options)
    assert (facts.channels, *facts.image_size) == tuple(image.shape)
    return image.permute(1, 2, 0).numpy()


def saved(array, **named):
    return lambda path: Image.fromarray(np.ascontiguousarray(array)).save(path, **named)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
@pytest.mark.parametrize("orientation", STORED)
def test_pictures_are_turned_upright(suffix, orientation, own):
    exif = Image.Exif()
    exif[0x0112] = orientation
    array = STORED[orientation](np.arange(60, dtype=np.uint8).reshape(6, 10, 1).repeat(3, axis=2))
    named = {"webp": {"lossless": True}, "jpg": {"quality": 100}}.get(suffix, {})
    found = first(own(saved(array, exif=exif, **named), suffix)).astype(int)
    assert found.shape == (6, 10, 3)
    assert np.abs(found[:, :, 0] - np.arange(60).reshape(6, 10)).max() <= 2 * (suffix == "jpg")


def test_a_png_that_says_so_behind_its_pixels(own):
    """As some programs write it; a plan need not read the pixels to know."""
    exif = Image.Exif()
    exif[0x0112] = 6

    def write(path):
        saved(np.rot90(GREY))(path)
        body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(path.read_bytes()[:-12] + chunk + path.read_bytes()[-12:])

    np.testing.assert_array_equal(first(own(write))[:, :, 0], GREY)


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(["png", "webp", "tif", "jpg"]))
def test_exif_that_is_damaged_turns_nothing(tmp_path_factory, exif, suffix):
    root = tmp_path_factory.mktemp("exif")
    for split in ("train", "test"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            path = root / split / name / f"0.{suffix}"
            try:
                Image.fromarray(GREY).save(path, exif=b"Exif\0\0" + exif)
            except Exception:  # Pillow does not write all of them
                Image.fromarray(GREY).save(path)
    assert first({"name": "own", "source": "folder", "path": root}).shape[:2] == (6, 10)


def layered(pixels, alpha, background):
    """What shines through, in float64."""
    share = alpha[..., None] / 255
    return pixels * share + np.array(background) * (1 - share)


@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 30)])
def test_transparency_shows_the_background(background, own):
    alpha = RNG.integers(256, size=(6, 10), dtype=np.uint8)
    alpha[0, :4] = 0, 255, 0, 255
    options = {} if background == (255, 255, 255) else {"background": list(background)}
    found = first(own(saved(np.dstack([COLOUR, alpha])), **options))
    assert np.abs(found - layered(COLOUR, alpha, background)).max() <= 1
    luminance = np.array(background) @ [0.299, 0.587, 0.114]
    found = first(own(saved(np.dstack([GREY, alpha])), **options))  # one channel
    assert found.shape == (6, 10, 1)
    assert np.abs(found - layered(GREY[..., None], alpha, luminance)).max() <= 1


def test_transparent_colours_of_png(own):
    """A palette's colours, and the one grey or colour that tRNS names."""
    indices = np.arange(60, dtype=np.uint8).reshape(6, 10) % 4
    palette = [0, 0, 0, 9, 8, 7, 250, 0, 0, 0, 0, 250]
    seen = np.array(palette).reshape(4, 3)

    def write(path):
        image = Image.fromarray(indices)
        image.putpalette(palette)
        image.save(path, transparency=bytes([255, 0, 128, 255]))

    wanted = layered(seen[indices], np.array([255, 0, 128, 255])[indices], (255, 255, 255))
    assert np.abs(first(own(write)) - wanted).max() <= 1
    found = first(own(saved(indices * 60, transparency=120)))
    np.testing.assert_array_equal(found[..., 0], np.where(indices == 2, 255, indices * 60))
    found = first(own(saved(seen.astype(np.uint8)[indices], transparency=(250, 0, 0))))
    np.testing.assert_array_equal(found, np.where(indices[..., None] == 2, 255, seen[indices]))
    deep = indices.astype(np.uint16) * 1000
    found = first(own(saved(deep, transparency=1000)))
    np.testing.assert_array_equal(found[..., 0], np.where(indices == 1, 255, np.rint(deep / 257)))


def test_a_picture_that_is_in_the_transparency_alone_is_warned_of(own, caplog):
    opaque = np.dstack([np.zeros((6, 10), np.uint8), GREY])
    with caplog.at_level(logging.WARNING):
        sources.read(own(saved(opaque)))
        assert not caplog.records
        sources.read(own(saved(opaque), background=0))
    (record,) = caplog.records
    assert "channel 0 of all training images is 0 everywhere" in record.getMessage()


def test_white_may_be_zero_in_a_tiff(own):
    """Of any depth, as radiographs have it."""
    ramp = np.arange(60, dtype=np.uint8).reshape(6, 10) * 4
    for photometric in (0, 1):
        written = ramp if photometric else 255 - ramp  # of 8 bits Pillow inverts what it writes
        for array in (written, ramp.astype(np.uint16) * 257):
            found = first(own(saved(array, tiffinfo={262: photometric}), "tif"))[:, :, 0]
            assert np.array_equal(found, ramp if photometric else 255 - ramp), array.dtype


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_to_eight(suffix, own, caplog):
    deep = RNG.integers(65536, size=(6, 10), dtype=np.uint16)
    deep[0, :2] = 0, 65535
    with caplog.at_level(logging.INFO):
        found = first(own(saved(deep), suffix))
    np.testing.assert_array_equal(found[..., 0], np.rint(deep / 257))
    assert "4 images of mode I" in caplog.text
    assert "from 0, which is black, to 65535, which is white" in caplog.text
    found = first(own(saved(deep), suffix, values=[1000, 5000]))
    np.testing.assert_array_equal(
        found[..., 0], np.rint((deep.astype(float) - 1000).clip(0, 4000) / 4000 * 255)
    )


def test_twelve_bits_in_sixteen_look_dark_and_are_warned_of(own, caplog):
    deep = RNG.integers(4096, size=(6, 10), dtype=np.uint16)
    with caplog.at_level(logging.WARNING):
        sources.read(own(saved(deep)))
    assert "the brightest training pixel is 1" in caplog.text
    assert "`values: [black, white]`" in caplog.text
    caplog.clear()
    sources.read(own(saved(deep), values=[0, 4095]))
    assert not caplog.records


def test_floats_are_scaled_from_one(own):
    floats = RNG.random((6, 10), dtype=np.float32)
    found = first(own(saved(floats), "tif"))
    np.testing.assert_array_equal(found[..., 0], np.rint(floats.astype(float) * 255))
    for wrong, parts in (
        (floats * 255, r"values from .* to 2.*; allowed are 0 \(black\) to 1 \(white\), or others"),
        (floats - 2, "values: "),
        (np.where(floats < 0.5, np.nan, floats).astype(np.float32), "NaN or infinite"),
    ):
        with pytest.raises(InputError, match=rf"train/a/0.tif has .*{parts}"):
            sources.read(own(saved(wrong), "tif"))
    assert first(own(saved(floats * 255), "tif", values=[0, 255])).max() > 200


@pytest.mark.parametrize("mode", ["1", "CMYK", "YCbCr"])
def test_other_modes_are_as_pillow_converts_them(mode, own):
    image = Image.fromarray(COLOUR).convert(mode)
    found = first(own(lambda path: image.save(path), "tif"))
    wanted = np.atleast_3d(np.asarray(image.convert("L" if mode == "1" else "RGB")))
    np.testing.assert_array_equal(found, wanted)


def test_the_first_page_counts(own):
    pages = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1])]
    found = first(
        own(lambda path: pages[0].save(path, save_all=True, append_images=pages[1:]), "tif")
    )
    np.testing.assert_array_equal(found, COLOUR)


sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=30, derandomize=True, database=None, deadline=None)
@given(sizes, sizes, st.sampled_from([1, 3]))
def test_any_shape_comes_to_any_size(shape, size, channels):
    """Of a ramp from left to right and one from top to bottom, in three ways."""
    height, width = shape
    columns = torch.arange(width).mul(255 // width).to(torch.uint8).expand(height, width)
    rows = torch.arange(height).mul(255 // height).to(torch.uint8)[:, None].expand(height, width)
    images = torch.stack([columns, rows])[:, None].repeat(1, channels, 1, 1)
    background = (255, 0, 128)
    made = {f: datasets.fitted(images, size, f, background) for f in ("stretch", "crop", "pad")}
    for each in made.values():
        assert each.shape == (2, channels, *size)
    assert torch.equal(made["stretch"], datasets.fitted(images, size, "stretch", (0, 0, 0)))
    crop = made["crop"]
    assert not (crop[0].int().diff(dim=-2) != 0).any()  # the ramp goes from left to right alone
    assert not (crop[1].int().diff(dim=-1) != 0).any()
    whole = ImageOps.contain(Image.new("L", (width, height)), size[::-1])
    shade = datasets.shade(background, channels)
    border = (made["pad"] == shade.view(1, -1, 1, 1)).all(1)  # a ramp may have the colour as well
    assert border[0].sum() >= size[0] * size[1] - (whole.height + 1) * (whole.width + 1)


def test_what_is_cropped_and_padded():
    """A white square between black halves, and the same lying within a background."""
    wide = torch.zeros(1, 1, 4, 12, dtype=torch.uint8)
    wide[..., 4:8] = 255
    assert datasets.fitted(wide, (4, 4), "crop", (9, 9, 9)).eq(255).all()
    padded = datasets.fitted(wide, (12, 12), "pad", (9, 9, 9))
    assert torch.equal(padded[:, :, 4:8], wide)
    assert padded[:, :, :4].eq(9).all()
    assert padded[:, :, 8:].eq(9).all()
    assert datasets.fitted(wide, (4, 4), "stretch", (9, 9, 9)).max() < 255


def test_fit_is_that_of_the_data_set(own):
    options = own(saved(COLOUR), image_size=10, background=[1, 2, 3])
    found = first({**options, "fit": "pad"})
    np.testing.assert_array_equal(found[2:8], COLOUR)
    assert (found[[0, 1, 8, 9]] == [1, 2, 3]).all()
    cropped = first({**options, "fit": "crop", "image_size": 6})
    np.testing.assert_array_equal(cropped, COLOUR[:, 2:8])


# Many files


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """300 pictures, which is several batches."""
    root = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(1)
    for split, number in (("train", 100), ("test", 30), ("val", 20)):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = rng.integers(256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.bmp")
    return {"name": "many", "source": "folder", "path": root}


def test_what_is_written_as_it_is_read_is_what_is_read(many, tmp_path):
    """By two processes as by one."""
    data = sources.read(many)
    made = [tmp_path / f"{n}.safetensors" for n in (1, 2)]
    for processes, path in enumerate(made, start=1):
        sources.prepare(many, path, processes=processes)
    assert made[0].read_bytes() == made[1].read_bytes()
    loaded = ImageDataset.load(made[0])
    assert loaded.fingerprint == data.fingerprint
    assert (loaded.name, loaded.mean, loaded.std) == (data.name, data.mean, data.std)
    paths = sorted((many["path"] / "train/a").iterdir()) + sorted(
        (many["path"] / "train/b").iterdir()
    )
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(loaded.train_images.permute(0, 2, 3, 1).numpy(), pixels)
    np.testing.assert_allclose(loaded.mean, pixels.mean((0, 1, 2)) / 255, atol=1e-4)


@pytest.mark.parametrize("source", ["digits", "npz"])
def test_other_sources_are_written_in_the_same_way(source, tmp_path):
    options = {"name": "own", "source": source, "image_size": 9}
    if source == "npz":
        arrays = {
            f"{split}_{part}": RNG.integers(2, size=shape, dtype=np.uint8)
            for split in ("train", "test")
            for part, shape in (("images", (40, 6, 5, 3)), ("labels", 40))
        }
        np.savez(tmp_path / "own.npz", **arrays)
        options |= {"path": tmp_path / "own.npz"}
    sources.prepare(options, tmp_path / "data.safetensors")
    data, loaded = sources.read(options), ImageDataset.load(tmp_path / "data.safetensors")
    assert loaded.fingerprint == data.fingerprint
    data.save(tmp_path / "saved.safetensors")
    assert ImageDataset.load(tmp_path / "saved.safetensors").fingerprint == loaded.fingerprint


@pytest.mark.parametrize("processes", [1, 2])
def test_all_broken_files_are_counted(many, tmp_path, processes):
    root = tmp_path / "copy"
    for split in ("train", "test"):
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for path in sorted((many["path"] / split / name).iterdir()):
                (root / split / name / path.name).write_bytes(path.read_bytes())
    for i in (5, 50, 7):
        path = root / f"train/b/{i}.bmp"
        path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"train/b/5.bmp is not a readable .*and 2 more"):
        sources.prepare({**many, "path": root}, tmp_path / "data.safetensors", processes=processes)
    assert not [*tmp_path.glob("*data*")]


def test_a_process_that_is_killed_is_told_in_one_line(many, tmp_path, monkeypatch):
    parts = pictures._read(Options(name="own"), [["none.png"]], "L", 2)
    monkeypatch.setattr(pictures, "_batch", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match=r"'own': one of 2 processes .* killed.*fewer --cores"):
        list(parts)


def test_pictures_are_chosen_before_they_are_read(many):
    paths = sorted(map(str, (many["path"] / "train/a").iterdir()))
    pictures = Pictures(Options(name="x"), paths, (3, 8, 8))
    whole = np.asarray(pictures)
    assert pictures.shape == whole.shape == (100, 3, 8, 8)
    for chosen in (slice(3, 9), np.array([7, 2, 2]), np.arange(100) % 3 == 0):
        np.testing.assert_array_equal(np.asarray(pictures[chosen]), whole[chosen])
    joined = np.concatenate([pictures[:3], pictures[90:]])
    assert isinstance(joined, Pictures)
    np.testing.assert_array_equal(np.asarray(joined), whole[[0, 1, 2, *range(90, 100)]])


def test_png_texts_of_any_kind_turn_nothing(own):
    told = PngImagePlugin.PngInfo()
    told.add_text("Comment", "Orientation 6")
    np.testing.assert_array_equal(first(own(saved(COLOUR, pnginfo=told))), COLOUR)
