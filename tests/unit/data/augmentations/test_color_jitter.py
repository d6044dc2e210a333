"""Changed colours, against torchvision."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from fedsim.data.augmentations import augmentations
from fedsim.errors import ConfigError
from support.pictures import changed, picture
from support.randomness import seeded


def drawn(generator: torch.Generator, middle: float, reach: float) -> float:
    """The next factor, by hand."""
    return middle - reach + 2 * reach * torch.rand((), generator=generator, dtype=torch.float64).item()


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 16), (3, 7, 12)])
@pytest.mark.parametrize(
    "reach",
    [
        {"brightness": 0.4, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.6, "saturation": 0.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.0, "saturation": 1.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.5},
        {"brightness": 0.3, "contrast": 0.2, "saturation": 0.5, "hue": 0.1},
        {},
    ],
)
def test_colours_change_as_torchvision_changes_them(reach: dict[str, float], shape: tuple[int, ...]) -> None:
    image, augment = picture(shape), augmentations.build("color_jitter", **reach)
    wanted = reach or {"brightness": 0.15, "contrast": 0.1}
    for seed in range(10):
        twin, expected = seeded(seed), image
        for name in ("brightness", "contrast", "saturation", "hue"):
            if wanted.get(name):
                adjust = getattr(functional, f"adjust_{name}")
                expected = adjust(expected, drawn(twin, 0 if name == "hue" else 1, wanted[name]))
        assert torch.equal(augment(image, seeded(seed)), expected)


def test_brightness_multiplies_and_stays_within_bytes() -> None:
    image = picture()
    for seed in range(10):
        factor = drawn(seeded(seed), 1, 0.9)
        expected = np.clip(np.floor(image.numpy().astype(np.float32) * np.float32(factor)), 0, 255)
        after = changed("color_jitter", image, seed, brightness=0.9, contrast=0.0).numpy().astype(np.float32)
        assert np.abs(after - expected).max() <= 1
        assert (after == expected).mean() > 0.98


def test_contrast_moves_away_from_the_mean_grey_or_towards_it() -> None:
    image = picture((3, 24, 24))
    weights = np.array([0.2989, 0.587, 0.114]).reshape(3, 1, 1)
    grey = np.floor((image.numpy() * weights).sum(0)).mean()
    for seed in range(10):
        factor = drawn(seeded(seed), 1, 0.5)
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
    assert torch.equal(augmentations.build("color_jitter", brightness=0, contrast=0)(image, generator), image)
    assert torch.equal(generator.get_state(), fresh)


@pytest.mark.parametrize(("key", "value"), [("brightness", 1.1), ("contrast", -0.1), ("saturation", 2), ("hue", 0.6)])
def test_a_reach_out_of_bounds_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        augmentations.build("color_jitter", **{key: value})
