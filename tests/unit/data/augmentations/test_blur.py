"""Blurred images, against scipy."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from fedsim.data.augmentations import augmentations, uniform
from fedsim.data.augmentations.blur import blur
from fedsim.errors import ConfigError
from support.augmentation_references import blurred, levels_apart, share_equal
from support.pictures import changed, picture
from support.randomness import seeded


def weights(kernel_size: int, sigma: float) -> np.ndarray:
    places = np.arange(kernel_size) - kernel_size // 2
    density = np.exp(-(places**2) / (2 * sigma**2))
    return density / density.sum()


@pytest.mark.parametrize("kernel_size", [3, 7])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(3, 20, 31), (1, 9, 12)])
def test_a_blur_is_a_gaussian_along_either_axis(kernel_size: int, sigma: float, shape: tuple[int, ...]) -> None:
    image = picture(shape)
    after = changed("blur", image, probability=1.0, kernel_size=kernel_size, sigma=[sigma, sigma])
    expected = image.numpy().astype(np.float64)
    for axis in (1, 2):
        expected = ndimage.convolve1d(expected, weights(kernel_size, sigma), axis=axis, mode="mirror")
    assert np.abs(after.numpy() - expected).max() <= 0.51
    assert after.double().std() < image.double().std()


@pytest.mark.parametrize("shape", [(40, 3, 33, 33), (40, 1, 28, 28), (40, 3, 20, 31)])
@pytest.mark.parametrize("kernel_size", [3, 9])
def test_each_image_is_blurred_as_torchvision_does(shape: tuple[int, ...], kernel_size: int) -> None:
    images, sigmas = picture(shape), uniform(0.1, 3, shape[:1], seeded(0))
    after, expected = blur(images, kernel_size, sigmas), blurred(images, kernel_size, sigmas)
    assert levels_apart(after, expected) <= 1
    assert share_equal(after, expected) > 0.999


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_it_acts_with_its_probability_and_any_sigma_of_its_range(probability: float) -> None:
    images, times = picture((800, 1, 4, 4)), 800
    augment: Any = augmentations.build("blur", probability=probability, sigma=[0.5, 2.0])
    chosen, sigmas = augment.sigmas(times, seeded(0))
    after = augment(images, seeded(0))
    assert abs(len(sigmas) - probability * times) <= 4 * sqrt(times * probability * (1 - probability))
    assert torch.equal(after[~chosen], images[~chosen])
    if len(sigmas):
        assert levels_apart(after[chosen], blurred(images[chosen], 3, sigmas)) <= 1
        assert stats.kstest(sigmas.tolist(), stats.uniform(0.5, 1.5).cdf).statistic < 2.2 / sqrt(len(sigmas))


def test_an_even_surface_stays_as_it_is() -> None:
    image = torch.full((3, 8, 8), 77, dtype=torch.uint8)
    assert torch.equal(changed("blur", image, probability=1.0, kernel_size=5, sigma=[2.0, 2.0]), image)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 2, 9), (3, 9, 1)])
def test_images_smaller_than_the_kernel_are_blurred_as_far_as_they_go(shape: tuple[int, ...]) -> None:
    image = picture(shape)
    after = changed("blur", image, probability=1.0, kernel_size=7, sigma=[2.0, 2.0])
    assert after.shape == image.shape
    assert torch.equal(after, image) == (shape[1:] == (1, 1))


@pytest.mark.parametrize(
    "settings",
    [
        {"probability": 1.5},
        {"kernel_size": 4},
        {"kernel_size": 1},
        {"sigma": [1.0, 0.5]},
        {"sigma": [0.0, 1.0]},
        {"sigma": [1.0]},
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        augmentations.build("blur", **settings)
