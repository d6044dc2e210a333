"""Blurred images, against scipy."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor
from torchvision.transforms.v2 import functional

from fedsim.data.augmentations import augmentations
from fedsim.errors import ConfigError
from support.pictures import changed, picture
from support.randomness import seeded


def sigmas_of(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The standard deviations of all blurs from now on."""
    sigmas, gaussian_blur = [], functional.gaussian_blur

    def spy(image: Tensor, kernel: list[int], sigma: list[float]) -> Tensor:
        sigmas.append(sigma[0])
        return gaussian_blur(image, kernel, sigma)

    monkeypatch.setattr(functional, "gaussian_blur", spy)
    return sigmas


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


@pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
def test_it_acts_with_its_probability_and_any_sigma_of_its_range(
    probability: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigmas, image, times = sigmas_of(monkeypatch), picture((1, 4, 4)), 800
    augment: Any = augmentations.build("blur", probability=probability, sigma=[0.5, 2.0])
    generator = seeded(0)
    untouched = sum(augment(image, generator) is image for _ in range(times))
    assert untouched == times - len(sigmas)
    assert abs(len(sigmas) - probability * times) <= 4 * sqrt(times * probability * (1 - probability))
    if sigmas:
        assert stats.kstest(sigmas, stats.uniform(0.5, 1.5).cdf).statistic < 2.2 / sqrt(len(sigmas))


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
