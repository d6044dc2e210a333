"""Rotations, against Pillow."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional

from fedsim.data.augmentations import augmentations
from support.pictures import changed, picture
from support.randomness import seeded


def angles_of(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The angles of all rotations from now on."""
    angles, rotate = [], functional.rotate

    def spy(image: Tensor, angle: float, *args: Any, **kwargs: Any) -> Tensor:
        angles.append(angle)
        return rotate(image, angle, *args, **kwargs)

    monkeypatch.setattr(functional, "rotate", spy)
    return angles


def test_a_rotation_is_the_one_that_pillow_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = angles_of(monkeypatch)
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    smooth = (127 + 60 * torch.sin(rows / 6) + 60 * torch.cos(columns / 5)).to(torch.uint8).expand(3, 40, 40)
    for seed in range(10):
        after = changed("rotation", smooth, seed, degrees=90.0)
        by_pillow = Image.fromarray(smooth.permute(1, 2, 0).contiguous().numpy()).rotate(
            angles[-1], resample=Image.Resampling.BILINEAR
        )
        expected = torch.from_numpy(np.array(by_pillow)).permute(2, 0, 1)
        difference = (after.int() - expected.int()).abs()
        assert float((difference <= 3).double().mean()) > 0.95  # edges apart, where they blend differently
        off = (changed("rotation", smooth, seed + 100, degrees=90.0).int() - expected.int()).abs()
        assert float((off <= 3).double().mean()) < 0.95


@pytest.mark.parametrize(("degrees", "reach"), [(None, 50.0), (10.0, 10.0), (180.0, 180.0)])
def test_angles_are_uniform_either_way(degrees: float | None, reach: float, monkeypatch: pytest.MonkeyPatch) -> None:
    angles = angles_of(monkeypatch)
    augment, generator = augmentations.build("rotation", **({"degrees": degrees} if degrees else {})), seeded(0)
    for _ in range(500):
        augment(picture((1, 4, 4)), generator)
    assert -reach <= min(angles) < -0.97 * reach
    assert 0.97 * reach < max(angles) <= reach
    assert stats.kstest(angles, stats.uniform(-reach, 2 * reach).cdf).statistic < 2.2 / sqrt(500)


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
