"""Small images in one, against plain loops, and all that is made of such sets."""

import math

import numpy as np
import pytest
import torch

from dclib.applications.evaluation.evaluate import Evaluation
from dclib.applications.evaluation.settings import Settings
from dclib.data import checks, tiles
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.errors import InputError
from dclib.methods.imported.formats import read
from dclib.seeding import Streams

CPU = torch.device("cpu")


def enlarged(channel, height, width):
    """Bilinear, pixels being squares: beyond the centres at the border nothing changes."""
    for side in (width, height):
        places = (np.arange(side) + 0.5) * channel.shape[1] / side - 0.5
        known = np.arange(channel.shape[1])
        channel = np.stack([np.interp(places, known, row) for row in channel]).T
    return channel


def test_no_small_image_is_empty_of_any_factor_that_is_allowed():
    for height in range(4, 40):
        for width in (height, 2 * height - 3):
            marked = torch.ones(1, 1, height, width)
            for factor in range(1, height):
                if checks.holds((height, width), factor):
                    small = tiles.decode(marked, factor, around=0.0)
                    assert small.flatten(1).amax(1).min() > 0, (height, width, factor)
                elif height == width and height % factor == 0:
                    assert height // factor < 2, (height, factor)


@pytest.mark.parametrize(("size", "factor"), [((8, 8), 2), ((9, 6), 3), ((7, 9), 2)])
def test_small_images_are_taken_out_and_enlarged_as_a_plain_loop_does(size, factor):
    images = torch.rand(
        3, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    down, right = (math.ceil(side / factor) for side in size)
    expected = []
    for image in images.numpy():
        whole = np.full((2, down * factor, right * factor), 0.5)
        whole[:, : size[0], : size[1]] = image
        for i in range(factor):
            for j in range(factor):
                part = whole[:, i * down : (i + 1) * down, j * right : (j + 1) * right]
                expected.append(np.stack([enlarged(channel, *size) for channel in part]))
    result = tiles.decode(images, factor)
    np.testing.assert_allclose(result.numpy(), np.stack(expected), rtol=0, atol=1e-12)
    assert tiles.decode(images, 1) is images
    assert tiles.seen(torch.tensor([4, 7]), factor).tolist() == [4] * factor**2 + [7] * factor**2
    assert torch.autograd.gradcheck(lambda x: tiles.decode(x, factor), images.requires_grad_())


def test_shrunk_images_are_every_second_pixel_side_by_side():
    images = torch.rand(8, 1, 6, 8)
    stored = tiles.encode(images, 2)
    assert stored.shape == (2, 1, 6, 8)
    assert torch.equal(stored[1, :, :3, 4:], images[5, :, ::2, ::2])
    assert torch.equal(stored[0, :, 3:, :4], images[2, :, ::2, ::2])
    # Constant ones come back as they are.
    flat = torch.rand(8, 1, 1, 1).expand(8, 1, 6, 8)
    torch.testing.assert_close(tiles.decode(tiles.encode(flat, 2), 2), flat)


def test_a_set_says_its_factor_and_is_trained_shown_and_exported_decoded(digits, tmp_path):
    images = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    made = SyntheticSet.like(
        digits, images, class_labels(10, 2), parameters=tiles.parameters(2)
    ).with_metadata(dataset="digits")
    made.save(tmp_path / "set.safetensors")
    stored = SyntheticSet.load(tmp_path / "set.safetensors")
    assert torch.equal(stored.images, images)
    assert stored.factor == 2
    shown = tiles.decode(images, 2)
    plain = SyntheticSet.like(digits, shown, class_labels(10, 8))
    assert torch.equal(stored.fitted(digits).images, shown)
    assert stored.fitted(digits).factor == 1
    results = []
    for one in (stored, plain):
        work = Evaluation("MLP", Settings(models=1, epochs=2, batch=16), digits, one, CPU)
        state = work.start(Streams("a set"))
        work.step(state)
        results.append(state.rows[:, :3])
    assert torch.equal(*results)
    assert torch.equal(stored.grid(), plain.grid())
    stored.export(tmp_path / "set.pt")
    ((images_, labels),) = torch.load(tmp_path / "set.pt", weights_only=True)["data"]
    assert torch.equal(images_, shown)
    assert torch.equal(labels, class_labels(10, 8))
    _, (found,) = read(tmp_path / "set.safetensors")
    assert torch.equal(found.images, shown)
    assert stored.fingerprint != SyntheticSet.like(digits, images, stored.labels).fingerprint


def test_what_is_added_below_is_mid_grey_in_the_units_of_the_set(small):
    images = small.normalise(small.train_images[:6])[..., :31]
    made = SyntheticSet.like(small, images, class_labels(3, 2), parameters=tiles.parameters(2))
    expected = tiles.decode(small.pixels(images), 2)
    torch.testing.assert_close(small.pixels(made.decoded().images), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, 1.5, 5.0, -2.0])
def test_a_factor_that_leaves_no_images_is_refused(digits, factor):
    made = SyntheticSet.like(
        digits, torch.zeros(10, 1, 8, 8), class_labels(10, 1),
        parameters={"factor": torch.tensor(factor)},
    )  # fmt: skip
    with pytest.raises(InputError, match="allowed is a whole number from 1 that leaves images in"):
        made.check("x")
