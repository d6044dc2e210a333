"""Pieces of an image, scaled back."""

from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional

from fedsim.data.augmentations import augmentations
from fedsim.errors import ConfigError
from support.pictures import changed, picture
from support.randomness import seeded


def pieces(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], count: int, **settings: float) -> np.ndarray:
    """Top, left, height and width of the pieces that were cut out [count, 4]."""
    cut, resized_crop = [], functional.resized_crop

    def spy(image: Tensor, top: int, left: int, height: int, width: int, **kwargs: Any) -> Tensor:
        cut.append((top, left, height, width))
        return resized_crop(image, top, left, height, width, **kwargs)

    monkeypatch.setattr(functional, "resized_crop", spy)
    augment, generator = augmentations.build("resized_crop", **settings), seeded(0)
    image = picture(shape)
    for _ in range(count):
        augment(image, generator)
    assert len(cut) == count
    return np.array(cut)


@pytest.mark.parametrize("shape", [(1, 200, 200), (1, 150, 260)])
@pytest.mark.parametrize(
    "settings", [{}, {"smallest": 0.3}, {"smallest": 0.25, "stretch": 2.0}, {"smallest": 0.5, "stretch": 1.0}]
)
def test_pieces_lie_in_the_image_and_keep_to_area_and_stretch(
    settings: dict[str, float], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, height, width = shape
    top, left, high, wide = pieces(monkeypatch, shape, 400, **settings).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + high <= height).all()
    assert (left + wide <= width).all()
    smallest, stretch = settings.get("smallest", 0.08), settings.get("stretch", 4 / 3)
    area = high * wide / (height * width)
    rounding = 1 + 1.05 / min(high.min(), wide.min())
    assert area.min() >= smallest / rounding
    assert area.min() < smallest + 0.1
    assert area.max() > 0.85
    bend = (wide / width) / (high / height)
    assert bend.min() >= 1 / stretch / rounding
    assert bend.max() <= stretch * rounding
    if stretch > 1:
        assert bend.min() < 1 / sqrt(stretch)
        assert bend.max() > sqrt(stretch)


@pytest.mark.parametrize("smallest", [0.8, 0.95, 1.0])
def test_pieces_are_never_smaller_than_the_smallest_share(smallest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a stretched piece would stick out of the image."""
    _, _, high, wide = pieces(monkeypatch, (1, 200, 200), 300, smallest=smallest).T
    assert (high * wide / 200**2).min() >= smallest - 0.01


def test_areas_are_uniform_and_stretches_in_their_logarithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pieces that are too small to stick out of the image, which are those of less than 3/4 of it."""
    _, _, high, wide = pieces(monkeypatch, (1, 1000, 1000), 400, smallest=0.1).T
    area = high * wide / 1e6
    small = area[area < 0.7]
    assert stats.kstest(small, stats.uniform(0.1, 0.6).cdf).statistic < 2.2 / sqrt(len(small))
    assert abs(len(small) / 400 - 0.6 / 0.9) < 5 * sqrt(0.22 / 400)
    bends = np.log(wide / high)[area < 0.7]
    assert stats.kstest(bends, stats.uniform(-log(4 / 3), 2 * log(4 / 3)).cdf).statistic < 2.2 / sqrt(len(bends))


def test_pieces_lie_at_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    top, left, high, wide = pieces(monkeypatch, (1, 400, 400), 400, smallest=0.08).T
    small = (high < 300) & (wide < 300)
    for place, side in ((top, high), (left, wide)):
        relative = (place[small] + 0.5) / (400 - side[small] + 1)
        assert stats.kstest(relative, stats.uniform(0, 1).cdf).statistic < 2.2 / sqrt(small.sum())


def test_a_piece_is_scaled_back_smoothly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a ramp, a piece is a ramp from where it begins to where it ends."""
    ramp = torch.stack([torch.arange(200)[:, None].expand(200, 200), torch.arange(200)[None].expand(200, 200)]).to(
        torch.uint8
    )
    cut = pieces(monkeypatch, (2, 200, 200), 20)
    augment, generator = augmentations.build("resized_crop"), seeded(0)
    for top, left, high, wide in cut.tolist():
        after = augment(ramp, generator).double()
        rows = top + (torch.arange(200) + 0.5) * high / 200 - 0.5
        columns = left + (torch.arange(200) + 0.5) * wide / 200 - 0.5
        inner = slice(8, -8)  # at the edge there is nothing to blend with
        assert (after[0].mean(1) - rows)[inner].abs().max() < 1
        assert (after[1].mean(0) - columns)[inner].abs().max() < 1


def test_the_whole_image_unbent_is_the_image() -> None:
    image = picture((3, 21, 34))
    assert torch.equal(changed("resized_crop", image, smallest=1.0, stretch=1.0), image)


@pytest.mark.parametrize("settings", [{"smallest": 0.0}, {"smallest": 1.5}, {"stretch": 0.5}])
def test_pieces_of_impossible_shape_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        augmentations.build("resized_crop", **settings)


def test_tiny_pieces_of_tiny_images_have_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, high, wide = pieces(monkeypatch, (3, 2, 3), 100, smallest=0.001, stretch=exp(2)).T
    assert high.min() == 1
    assert wide.min() == 1
