"""Changed colours, against torchvision."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from fedsim.data.augmentations import augmentations
from fedsim.data.augmentations.color_jitter import jitter
from fedsim.errors import ConfigError
from support.augmentation_references import jittered, levels_apart, share_equal
from support.pictures import changed, picture
from support.randomness import seeded


def factors(count: int, seed: int, **settings: float) -> dict[str, Tensor]:
    """What the first images are changed by."""
    augment: Any = augmentations.build("color_jitter", **settings)
    return augment.factors(count, seeded(seed))


@pytest.mark.parametrize("shape", [(40, 3, 16, 16), (40, 1, 16, 16), (40, 3, 7, 12)])
@pytest.mark.parametrize(
    "reach",
    [
        {"brightness": 0.9, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.9, "saturation": 0.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.0, "saturation": 1.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.5},
        {"brightness": 0.3, "contrast": 0.2, "saturation": 0.5, "hue": 0.1},
        {},
    ],
)
def test_colours_change_as_torchvision_changes_them(reach: dict[str, float], shape: tuple[int, ...]) -> None:
    images = picture(shape)
    after = augmentations.build("color_jitter", **reach)(images, seeded(0))
    expected = jittered(images, factors(shape[0], 0, **reach))
    assert share_equal(after, expected) > 0.998
    assert levels_apart(after, expected) <= (2 if sum(map(bool, reach.values())) > 2 else 1)


def test_factors_are_uniform_around_their_middle_and_drawn_apart() -> None:
    wanted = {"brightness": 0.4, "contrast": 0.3, "saturation": 0.2, "hue": 0.1}
    found = factors(2000, 0, **wanted)
    assert list(found) == list(wanted)
    for name, reach in wanted.items():
        middle = 0 if name == "hue" else 1
        uniform = stats.uniform(middle - reach, 2 * reach)
        assert stats.kstest(found[name].tolist(), uniform.cdf).statistic < 2.2 / sqrt(2000)
    apart = torch.stack(list(found.values())).corrcoef() - torch.eye(4)
    assert apart.abs().max() < 5 / sqrt(2000)


def test_greys_have_no_hue_and_a_whole_turn_is_none() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(jitter(levels, {"hue": torch.tensor([0.3])}), levels)
    images = picture((2, 3, 16, 16))
    assert torch.equal(jitter(images, {"hue": torch.tensor([0.0, 1.0])}), images)


def test_brightness_multiplies_and_stays_within_bytes() -> None:
    image = picture()
    for seed in range(10):
        factor = float(factors(1, seed, brightness=0.9, contrast=0.0)["brightness"])
        expected = np.clip(np.floor(image.numpy().astype(np.float32) * np.float32(factor)), 0, 255)
        after = changed("color_jitter", image, seed, brightness=0.9, contrast=0.0).numpy().astype(np.float32)
        assert np.abs(after - expected).max() <= 1
        assert (after == expected).mean() > 0.98


def test_contrast_moves_away_from_the_mean_grey_or_towards_it() -> None:
    image = picture((3, 24, 24))
    weights = np.array([0.2989, 0.587, 0.114]).reshape(3, 1, 1)
    grey = np.floor((image.numpy() * weights).sum(0)).mean()
    for seed in range(10):
        factor = float(factors(1, seed, brightness=0.0, contrast=0.5)["contrast"])
        after = changed("color_jitter", image, seed, brightness=0.0, contrast=0.5)
        expected = np.clip(factor * image.numpy() + (1 - factor) * grey, 0, 255)
        assert np.abs(after.numpy() - expected).max() <= 2


def test_images_without_colour_have_no_saturation_and_no_hue() -> None:
    grey = picture((1, 12, 12))
    for seed in range(5):
        assert torch.equal(changed("color_jitter", grey, seed, brightness=0, contrast=0, saturation=1, hue=0.5), grey)


def test_without_reach_colours_stay_and_nothing_is_drawn() -> None:
    generator, image = seeded(0), picture()
    fresh = generator.get_state()
    assert torch.equal(
        augmentations.build("color_jitter", brightness=0, contrast=0)(image[None], generator)[0], image
    )
    assert torch.equal(generator.get_state(), fresh)


@pytest.mark.parametrize(("key", "value"), [("brightness", 1.1), ("contrast", -0.1), ("saturation", 2), ("hue", 0.6)])
def test_a_reach_out_of_bounds_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        augmentations.build("color_jitter", **{key: value})
