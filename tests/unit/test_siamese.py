"""The augmentations of DSA, IDC and DC-BENCH, and CutMix, against plain loops."""

import numpy as np
import pytest
import torch
from reference import siamese

from dclib.training import mixing
from dclib.training.augmentation import dcbench, dsa, idc
from dclib.training.kinds import KINDS

SIZES = [(28, 28), (32, 32), (9, 14)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def close(result, expected):
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-9)


def applied(n, *kinds):
    return torch.tensor([[kind in kinds for kind in dsa.KINDS]] * n)


@pytest.mark.parametrize("kind", dsa.KINDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_change_is_that_of_the_plain_loop(kind, size, channels):
    n = 6
    images = torch.randn(n, channels, *size, generator=seeded(), dtype=torch.float64)
    uniform = torch.rand(n, dsa.NUMBERS, generator=seeded(1), dtype=torch.float64)
    uniform[0], uniform[1] = 0.0, 1 - 1e-12  # the ends of every range
    result = dsa.transform(images, applied=applied(n, kind), uniform=uniform)
    expected = [
        siamese.change(i, kind, u) for i, u in zip(images.tolist(), uniform.tolist(), strict=True)
    ]
    torch.testing.assert_close(
        result, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9
    )
    assert not torch.equal(result, images)


def test_closed_forms():
    images = torch.randn(2, 3, 8, 8, generator=seeded(), dtype=torch.float64)
    half = torch.full((2, dsa.NUMBERS), 0.5, dtype=torch.float64)
    # In the middle of its range, colour, crop, flip and rotation change nothing.
    for kind in ("color", "crop", "flip", "rotate"):
        same = dsa.transform(images, applied=applied(2, kind), uniform=half)
        torch.testing.assert_close(same, images, rtol=0, atol=1e-12)
    grey = images[:, :1].repeat(1, 3, 1, 1)
    saturated = half.clone()
    saturated[:, 1] = 0.9
    same = dsa.transform(grey, applied=applied(2, "color"), uniform=saturated)
    torch.testing.assert_close(same, grey, rtol=0, atol=1e-12)
    # A block of a quarter of the area, wherever its centre leaves it whole.
    hole = dsa.transform(images, applied=applied(2, "cutout"), uniform=half)
    assert (hole == 0).sum().item() == 2 * 3 * 16
    # At the corner the block hangs over; its rows and columns there are 0 nevertheless.
    corner = dsa.transform(images, applied=applied(2, "cutout"), uniform=0 * half)
    assert (corner == 0).nonzero()[:, 2:].max().item() == 1


@pytest.mark.parametrize("kind", dsa.KINDS)
def test_the_gradient_flows_through_every_change(kind):
    images = torch.randn(3, 2, 5, 6, generator=seeded(), dtype=torch.float64, requires_grad=True)
    uniform = torch.rand(3, dsa.NUMBERS, generator=seeded(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: dsa.transform(x, applied=applied(3, kind), uniform=uniform), images
    )


def test_one_kind_a_batch_and_parameters_for_every_image():
    drawn = dsa.draw(1000, 8, KINDS["dsa"], seeded())
    assert (drawn["applied"].sum(1) == 1).all()
    batches = drawn["applied"].view(-1, 8, len(dsa.KINDS))
    assert (batches == batches[:, :1]).all()
    share = batches[:, 0].double().mean(0)
    assert (share - 1 / 6).abs().max() < 0.1  # of 125 batches
    assert drawn["uniform"].flatten().unique().numel() == 1000 * dsa.NUMBERS
    assert set(dsa.KINDS) == set(KINDS["dsa"])
    # The last batch may be smaller.
    assert len(dsa.draw(10, 8, ["flip"], seeded())["applied"]) == 10


def test_siamese_sets_are_changed_alike():
    """One draw, one kind and one set of numbers, for any two sets of images."""
    real, synthetic = torch.randn(2, 5, 1, 12, 12, generator=seeded())
    one = dsa.draw(1, 1, KINDS["dsa"], seeded(3))
    alike = {name: value.expand(5, -1) for name, value in one.items()}
    torch.testing.assert_close(
        dsa.transform(real, **alike) - dsa.transform(synthetic, **alike),
        dsa.transform(real - synthetic, **alike),
        rtol=0, atol=1e-5,
    )  # fmt: skip


def test_networks_side_by_side_are_changed_as_one_after_another():
    images = torch.randn(3, 4, 1, 8, 8, generator=seeded())
    drawn = [dsa.draw(4, 4, KINDS["dsa"], seeded(seed)) for seed in range(3)]
    stacked = {name: torch.stack([one[name] for one in drawn]) for name in drawn[0]}
    together = dsa.transform(images, **stacked)
    for one, image, result in zip(drawn, images, together, strict=True):
        assert torch.equal(dsa.transform(image, **one), result)


def test_idc_always_flips_and_colours_and_draws_one_of_the_others():
    kinds = ("color", "crop", "flip", "scale", "rotate")
    applied_ = idc.draw(600, 6, kinds, seeded())["applied"]
    index = {kind: applied_[:, dsa.KINDS.index(kind)] for kind in dsa.KINDS}
    assert index["flip"].all()
    assert index["color"].all()
    assert not index["cutout"].any()
    one = sum(index[kind].int() for kind in ("crop", "scale", "rotate"))
    assert (one == 1).all()
    only = idc.draw(10, 5, ("cutout",), seeded())["applied"]
    assert only.sum() == 10
    images = torch.randn(4, 3, 8, 8, generator=seeded(), dtype=torch.float64)
    drawn = idc.draw(4, 4, ("color", "flip", "cutout"), seeded())
    expected = [
        siamese.change(siamese.change(siamese.change(i, "flip", u), "color", u), "cutout", u)
        for i, u in zip(images.tolist(), drawn["uniform"].tolist(), strict=True)
    ]
    result = idc.transform(images, **drawn)
    torch.testing.assert_close(
        result, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("kind", dcbench.KINDS)
def test_torchvisions_changes_are_of_256_levels_and_one_a_batch(digits, kind):
    images = digits.normalise(digits.train_images[:16])[None]
    images[0, 0, 0, 0, 0] = 50.0  # beyond what a pixel can be
    drawn = dcbench.draw(16, 8, [kind], seeded())
    assert drawn["seed"].unique().numel() == 2
    moves = {name: value[None, :8] for name, value in drawn.items()}
    results = [dcbench.transform(images[:, :8], data=digits, **moves) for _ in range(2)]
    assert torch.equal(*results)
    mean, std = digits.mean[0], digits.std[0]
    if kind == "cifar":  # an image of 8x8 is cut out as a whole
        assert not results[0].any()
        return
    levels = (results[0] * std + mean) * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    assert float(levels.min()) > -1e-3
    assert float(levels.max()) < 255 + 1e-3
    assert results[0].shape == images[:, :8].shape


def test_cutout_of_dcbench_is_zero_and_of_sixteen_pixels_around_one_of_the_image(small):
    """As in its paper: 0 after the normalisation, the mean, and cut where it leaves the image."""
    images, sizes, random = small.normalise(small.train_images[:4])[None], set(), seeded()
    for _ in range(60):
        moves = {name: value[None] for name, value in dcbench.draw(4, 4, ["cifar"], random).items()}
        block = (dcbench.transform(images, data=small, **moves)[0] == 0).all(1)
        assert torch.equal(block, block[:1].expand_as(block))  # the same in the whole batch
        rows, columns = (block[0].any(dim) for dim in (1, 0))
        assert int(block[0].sum()) == int(rows.sum()) * int(columns.sum())
        sizes |= {int(rows.sum()), int(columns.sum())}
    assert sizes <= {*range(8, 17)}
    assert {8, 16} <= sizes  # around the first pixel, and around those of the middle


def test_a_box_of_the_partner_is_cut_in():
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 4, 8).contiguous()
    partner = torch.tensor([2, 0, 1])
    box = torch.tensor([[0.25, 0.75, 0.0, 0.5]] * 3)
    mixed, share = mixing.cut(images, partner=partner, box=box)
    expected = images.clone()
    expected[:, :, 1:3, :4] = images[partner][:, :, 1:3, :4]
    assert torch.equal(mixed, expected)
    assert share.tolist() == [0.25] * 3
    same, none = mixing.cut(images, partner=partner, box=torch.zeros(3, 4))
    assert torch.equal(same, images)
    assert none.tolist() == [0.0] * 3


def test_boxes_are_drawn_for_a_batch():
    drawn = mixing.draw(40000, 10, 0.5, seeded())
    boxes = drawn["box"].view(-1, 10, 4)
    assert (boxes == boxes[:, :1]).all()
    assert (drawn["partner"].view(-1, 10).sort(1).values == torch.arange(10)).all()
    sides = boxes[:, 0, 1::2] - boxes[:, 0, ::2]
    mixed = sides.prod(1) > 0
    assert abs(float(mixed.double().mean()) - 0.5) < 0.03
    # Where the box hangs over nothing its area is uniform; cut off it is less, at most by 3/4.
    whole = (boxes[:, 0] > 0).all(1) & (boxes[:, 0] < 1).all(1) & mixed
    np.testing.assert_allclose(sides[whole, 0], sides[whole, 1], atol=1e-6)
    assert float(sides.prod(1).max()) <= 1
