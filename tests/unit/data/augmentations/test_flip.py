"""Flips."""

from math import sqrt

import numpy as np
import pytest

from fedsim.data.augmentations import augmentations
from support.pictures import picture
from support.randomness import seeded


def names_of_flips(count: int, **settings: float) -> list[str]:
    image = picture((3, 5, 7))
    mirrored = {
        "none": image.numpy(),
        "left and right": image.numpy()[:, :, ::-1],
        "top and bottom": image.numpy()[:, ::-1],
        "both": image.numpy()[:, ::-1, ::-1],
    }
    augment, found = augmentations.build("flip", **settings), []
    for after in augment(image.expand(count, 3, 5, 7), seeded(1)).numpy():
        (name,) = [name for name, expected in mirrored.items() if np.array_equal(after, expected)]
        found.append(name)
    return found


@pytest.mark.parametrize(
    ("horizontal", "vertical", "expected"),
    [(0.0, 0.0, "none"), (1.0, 0.0, "left and right"), (0.0, 1.0, "top and bottom"), (1.0, 1.0, "both")],
)
def test_a_flip_that_is_sure_is_always_made(horizontal: float, vertical: float, expected: str) -> None:
    assert set(names_of_flips(200, horizontal=horizontal, vertical=vertical)) == {expected}


def test_by_default_half_of_all_images_are_mirrored() -> None:
    found = names_of_flips(2000)
    assert set(found) == {"none", "left and right"}
    assert abs(found.count("none") / 2000 - 0.5) < 5 * sqrt(0.25 / 2000)


def test_the_two_flips_are_drawn_apart() -> None:
    found = names_of_flips(4000, horizontal=0.3, vertical=0.8)
    expected = {"none": 0.14, "left and right": 0.06, "top and bottom": 0.56, "both": 0.24}
    for name, share in expected.items():
        assert abs(found.count(name) / 4000 - share) < 5 * sqrt(share * (1 - share) / 4000), name
