"""Pieces of an image, scaled back."""

from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from fedsim.data.augmentations import augmentations
from fedsim.data.augmentations.resized_crop import resize_pieces
from fedsim.errors import ConfigError
from support.augmentation_references import levels_apart, resized_pieces, share_equal
from support.pictures import changed, picture
from support.randomness import seeded


def pieces(shape: tuple[int, ...], count: int, **settings: float) -> Tensor:
    """Top, left, height and width of the pieces that are cut out [count, 4]."""
    augment: Any = augmentations.build("resized_crop", **settings)
    return augment.pieces(count, shape[1], shape[2], seeded(0))


@pytest.mark.parametrize("shape", [(40, 3, 33, 33), (40, 1, 28, 28), (40, 3, 20, 31), (4, 3, 200, 200)])
def test_each_piece_is_scaled_as_torchvision_does(shape: tuple[int, ...]) -> None:
    images, cut = picture(shape), pieces(shape[1:], shape[0])
    after = resize_pieces(images, cut)
    assert levels_apart(after, resized_pieces(images, cut)) <= 1  # of bytes, which torchvision rounds twice
    in_floats = resized_pieces(images.float(), cut).round()
    assert levels_apart(after, in_floats) <= 1
    assert share_equal(after, in_floats) > 0.995  # but for values in the middle between two bytes
    assert torch.equal(augmentations.build("resized_crop")(images, seeded(0)), after)


@pytest.mark.parametrize("shape", [(1, 200, 200), (1, 150, 260)])
@pytest.mark.parametrize(
    "settings", [{}, {"smallest": 0.3}, {"smallest": 0.25, "stretch": 2.0}, {"smallest": 0.5, "stretch": 1.0}]
)
def test_pieces_lie_in_the_image_and_keep_to_area_and_stretch(
    settings: dict[str, float], shape: tuple[int, ...]
) -> None:
    _, height, width = shape
    top, left, high, wide = pieces(shape, 400, **settings).numpy().T
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
def test_pieces_are_never_smaller_than_the_smallest_share(smallest: float) -> None:
    """Also where a stretched piece would stick out of the image."""
    _, _, high, wide = pieces((1, 200, 200), 300, smallest=smallest).numpy().T
    assert (high * wide / 200**2).min() >= smallest - 0.01


def test_areas_are_uniform_and_stretches_in_their_logarithm() -> None:
    """Of pieces that are too small to stick out of the image, which are those of less than 3/4 of it."""
    _, _, high, wide = pieces((1, 1000, 1000), 400, smallest=0.1).numpy().T
    area = high * wide / 1e6
    small = area[area < 0.7]
    assert stats.kstest(small, stats.uniform(0.1, 0.6).cdf).statistic < 2.2 / sqrt(len(small))
    assert abs(len(small) / 400 - 0.6 / 0.9) < 5 * sqrt(0.22 / 400)
    bends = np.log(wide / high)[area < 0.7]
    assert stats.kstest(bends, stats.uniform(-log(4 / 3), 2 * log(4 / 3)).cdf).statistic < 2.2 / sqrt(len(bends))


def test_pieces_lie_at_all_places() -> None:
    top, left, high, wide = pieces((1, 400, 400), 400, smallest=0.08).numpy().T
    small = (high < 300) & (wide < 300)
    for place, side in ((top, high), (left, wide)):
        relative = (place[small] + 0.5) / (400 - side[small] + 1)
        assert stats.kstest(relative, stats.uniform(0, 1).cdf).statistic < 2.2 / sqrt(small.sum())


def test_a_piece_is_scaled_back_smoothly() -> None:
    """Of a ramp, a piece is a ramp from where it begins to where it ends."""
    ramp = torch.stack([torch.arange(200)[:, None].expand(200, 200), torch.arange(200)[None].expand(200, 200)]).to(
        torch.uint8
    )
    cut = pieces((2, 200, 200), 20)
    results = augmentations.build("resized_crop")(ramp.expand(20, 2, 200, 200), seeded(0)).double()
    for (top, left, high, wide), after in zip(cut.tolist(), results, strict=True):
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


def test_tiny_pieces_of_tiny_images_have_a_pixel() -> None:
    _, _, high, wide = pieces((3, 2, 3), 100, smallest=0.001, stretch=exp(2)).numpy().T
    assert high.min() == 1
    assert wide.min() == 1
