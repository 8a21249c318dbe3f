"""The batched augmentation against numpy and scipy, image by image."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from dclib.seeding import Streams
from dclib.training.augmentation.dc import KINDS, draw, noise, transform

N, HEIGHT, WIDTH = 5, 28, 28


@pytest.fixture
def images():
    return torch.randn(N, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)).double()


def move(images, *, shift=0.0, factor=1.0, degrees=0.0, nearest=False, mean_around=False):
    n = len(images)
    return transform(
        images,
        shift=torch.as_tensor(shift, dtype=torch.float64).expand(n, 2),
        factor=torch.as_tensor(factor, dtype=torch.float64).expand(n, 2),
        degrees=torch.as_tensor(degrees, dtype=torch.float64).expand(n),
        nearest=torch.full((n,), nearest),
        mean_around=torch.full((n,), mean_around),
    )


def test_crop_is_a_window_of_the_padded_image(images):
    means = images.mean((0, 2, 3)).numpy()
    for down, right in [(0, 0), (4, -4), (-3, 2), (-4, -4)]:
        moved = move(images, shift=[down, right], mean_around=True).numpy()
        for image, result in zip(images.numpy(), moved, strict=True):
            for channel in range(3):
                padded = np.pad(image[channel], 4, constant_values=means[channel])
                window = padded[4 + down : 4 + down + HEIGHT, 4 + right : 4 + right + WIDTH]
                np.testing.assert_allclose(result[channel], window, atol=1e-9)


@pytest.mark.parametrize("factor", [(0.8, 1.2), (1.13, 0.91), (1.0, 1.0)])
def test_scale_takes_the_nearest_pixel_and_zeros_around(images, factor):
    moved = move(images, factor=factor, nearest=True).numpy()
    for image, result in zip(images.numpy(), moved, strict=True):
        for row in range(HEIGHT):
            for column in range(WIDTH):
                y = int(np.floor((row - 13.5) / factor[0] + 13.5 + 0.5))
                x = int(np.floor((column - 13.5) / factor[1] + 13.5 + 0.5))
                inside = 0 <= y < HEIGHT and 0 <= x < WIDTH
                expected = image[:, y, x] if inside else 0.0
                np.testing.assert_allclose(result[:, row, column], expected, atol=1e-9)


@pytest.mark.parametrize("degrees", [-45.0, -10.0, 33.0, 45.0])
def test_rotation_agrees_with_scipy(images, degrees):
    means = images.mean((0, 2, 3)).numpy()
    moved = move(images, degrees=degrees, mean_around=True).numpy()
    for image, result in zip(images.numpy(), moved, strict=True):
        for channel in range(3):
            expected = scipy.ndimage.rotate(
                image[channel], degrees, reshape=False, order=1,
                mode="grid-constant", cval=means[channel],
            )  # fmt: skip
            np.testing.assert_allclose(result[channel], expected, atol=1e-9)


def augment(images, kinds, generator):
    moves = draw(len(images), len(images), kinds, generator)
    if "noise" in kinds:
        moves["noise"] = noise(images.shape, Streams(int(generator.initial_seed())), images.device)
    return transform(images, **moves)


def test_every_image_gets_exactly_one_of_the_kinds():
    """A ramp tells what was done to it: each kind leaves a trace that the others cannot."""
    n = 3000
    images = torch.zeros(n, 1, 28, 28)
    images[:, :, 4:24, 4:24] = 1.0
    result = augment(images, ["crop", "scale", "rotate"], torch.Generator().manual_seed(0))
    assert result.shape == images.shape
    around = float(images.mean())
    interpolated = (result - around).abs().gt(1e-4) & result.gt(1e-4) & result.lt(1 - 1e-4)
    rotated = interpolated.flatten(1).any(1)
    area = (result > 0.999).flatten(1).sum(1)
    cropped = ~rotated & (area == 400)
    assert 0.28 < rotated.float().mean() < 0.38
    assert 0.28 < cropped.float().mean() < 0.45  # a few scalings keep the area
    shifts = result[cropped].flatten(1).argmax(1)
    assert len(shifts.unique()) > 60  # of 81 windows


def test_noise_is_small_and_only_where_it_was_drawn(images):
    images = images.float()
    result = augment(images, ["noise"], torch.Generator().manual_seed(0))
    assert 0.0009 < float((result - images).std()) < 0.0011
    assert abs(float((result - images).mean())) < 1e-4


def test_the_same_stream_gives_the_same_images(images):
    first, second = (augment(images, KINDS, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, augment(images, KINDS, torch.Generator().manual_seed(8)))
