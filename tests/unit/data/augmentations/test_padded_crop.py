"""Crops of a padded image."""

import numpy as np
import pytest
import torch
from scipy import stats

from fedsim.data.augmentations import augmentations
from fedsim.errors import ConfigError
from support.pictures import picture
from support.randomness import seeded


@pytest.mark.parametrize(("shape", "padding"), [((3, 8, 8), 2), ((1, 5, 9), 3), ((2, 2, 2), 4)])
def test_a_padded_crop_is_the_image_moved_and_all_places_occur_alike(shape: tuple[int, ...], padding: int) -> None:
    image = picture(shape)
    _, height, width = shape
    moved: dict[bytes, list[tuple[int, int]]] = {}
    for down in range(-padding, padding + 1):
        for right in range(-padding, padding + 1):
            expected = np.zeros(shape, dtype=np.uint8)
            for row in range(height):
                for column in range(width):
                    if 0 <= row + down < height and 0 <= column + right < width:
                        expected[:, row, column] = image[:, row + down, column + right]
            moved.setdefault(expected.tobytes(), []).append((down, right))
    places, draws = (2 * padding + 1) ** 2, 100 * (2 * padding + 1) ** 2
    augment, times = augmentations.build("padded_crop", padding=padding), dict.fromkeys(moved, 0)
    for after in augment(image.expand(draws, *shape), seeded(0)):
        times[after.contiguous().numpy().tobytes()] += 1  # a KeyError is no such window
    observed, expected_times = list(times.values()), [100 * len(offsets) for offsets in moved.values()]
    assert min(observed) > 0
    assert stats.chisquare(observed, expected_times).pvalue > 1e-4
    assert sum(map(len, moved.values())) == places


def test_padding_is_four_pixels_unless_said_otherwise_and_never_none() -> None:
    images = torch.full((200, 1, 8, 8), 255, dtype=torch.uint8)
    after = augmentations.build("padded_crop")(images, seeded(0))
    black = set((after[:, 0].amax(2) == 0).sum(1).tolist())
    assert black == {0, 1, 2, 3, 4}
    with pytest.raises(ConfigError, match="padding"):
        augmentations.build("padded_crop", padding=0)
