"""Rotations, against Pillow."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor

from fedsim.data.augmentations import augmentations
from fedsim.data.augmentations.rotation import rotate
from support.augmentation_references import levels_apart, rotated, share_equal
from support.pictures import changed, picture
from support.randomness import seeded


def angles(count: int, seed: int, **settings: float) -> Tensor:
    """The angles of the first rotations."""
    augment: Any = augmentations.build("rotation", **settings)
    return augment.angles(count, seeded(seed))


@pytest.mark.parametrize("shape", [(40, 3, 33, 33), (40, 1, 28, 28), (40, 3, 20, 31), (4, 3, 200, 200)])
def test_each_image_is_turned_as_torchvision_does(shape: tuple[int, ...]) -> None:
    images, degrees = picture(shape), angles(shape[0], 0, degrees=180.0)
    after, expected = rotate(images, degrees), rotated(images, degrees)
    assert levels_apart(after, expected) <= 1
    assert share_equal(after, expected) > 0.999
    assert torch.equal(augmentations.build("rotation", degrees=180.0)(images, seeded(0)), after)


@pytest.mark.parametrize(("turn", "quarters"), [(0, 0), (90, 1), (180, 2), (-90, 3)])
def test_quarters_of_a_turn_are_exact(turn: int, quarters: int) -> None:
    images = picture((3, 3, 17, 17))
    degrees = torch.full((3,), float(turn), dtype=torch.float64)
    assert torch.equal(rotate(images, degrees), images.rot90(quarters, (2, 3)))


def test_a_rotation_is_the_one_that_pillow_makes() -> None:
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    smooth = (127 + 60 * torch.sin(rows / 6) + 60 * torch.cos(columns / 5)).to(torch.uint8).expand(3, 40, 40)
    for seed in range(10):
        after = changed("rotation", smooth, seed, degrees=90.0)
        by_pillow = Image.fromarray(smooth.permute(1, 2, 0).contiguous().numpy()).rotate(
            float(angles(1, seed, degrees=90.0)), resample=Image.Resampling.BILINEAR
        )
        expected = torch.from_numpy(np.array(by_pillow)).permute(2, 0, 1)
        difference = (after.int() - expected.int()).abs()
        assert float((difference <= 3).double().mean()) > 0.95  # edges apart, where they blend differently
        off = (changed("rotation", smooth, seed + 100, degrees=90.0).int() - expected.int()).abs()
        assert float((off <= 3).double().mean()) < 0.95


@pytest.mark.parametrize(("degrees", "reach"), [(None, 50.0), (10.0, 10.0), (180.0, 180.0)])
def test_angles_are_uniform_either_way(degrees: float | None, reach: float) -> None:
    drawn = angles(500, 0, **({"degrees": degrees} if degrees else {})).tolist()
    assert -reach <= min(drawn) < -0.97 * reach
    assert 0.97 * reach < max(drawn) <= reach
    assert stats.kstest(drawn, stats.uniform(-reach, 2 * reach).cdf).statistic < 2.2 / sqrt(500)


def test_a_rotation_turns_around_the_middle_and_leaves_black_corners() -> None:
    image = torch.zeros(1, 33, 33, dtype=torch.uint8)
    image[0, 12:21, 12:21] = 200
    full = torch.full((3, 33, 33), 255, dtype=torch.uint8)
    for seed in range(30):
        turned = changed("rotation", image, seed, degrees=180.0)[0].double()
        rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
        assert float((turned * rows).sum() / turned.sum()) == pytest.approx(16, abs=0.1)
        assert float((turned * columns).sum() / turned.sum()) == pytest.approx(16, abs=0.1)
        assert float(turned.sum()) == pytest.approx(float(image.sum()), rel=0.02)
    corners = [changed("rotation", full, seed, degrees=50.0)[:, [0, 0, -1, -1], [0, -1, 0, -1]] for seed in range(30)]
    assert sum(int((corner == 0).all()) for corner in corners) > 20
