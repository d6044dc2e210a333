"""Draws of augmentations, and the interface that they have."""

from math import sqrt
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor

from fedsim.data.augmentations import Augmentation, augmentations, uniform
from fedsim.errors import ConfigError
from fedsim.plugins import load_plugin
from support.randomness import seeded


def test_uniform_draws_are_uniform() -> None:
    generator = seeded(0)
    draws = uniform(-3, 5, (1000, 2), generator)
    assert stats.kstest(draws.flatten().tolist(), stats.uniform(-3, 8).cdf).statistic < 2.2 / sqrt(2000)
    assert uniform(2, 2, (1,), generator).tolist() == [2]


def test_a_row_of_draws_is_the_same_in_a_batch_and_alone() -> None:
    generator = seeded(3)
    alone = [uniform(0, 1, (1, 3), generator) for _ in range(40)]
    assert torch.equal(uniform(0, 1, (40, 3), seeded(3)), torch.cat(alone))


def test_an_augmentation_for_single_images_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"Mirror\.__call__ takes one `image`.*take `images` \[n, C, H, W\]"):

        class Mirror(Augmentation):
            """As they were written before."""

            def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
                return image.flip(-1)


def test_a_plugin_with_such_an_augmentation_is_refused_with_its_line(tmp_path: Path) -> None:
    plugin = tmp_path / "mirror.py"
    plugin.write_text(
        "from fedsim.data.augmentations import Augmentation, augmentations\n\n"
        '@augmentations.register("mirror")\n'
        "class Mirror(Augmentation):\n"
        "    def __call__(self, image, generator):\n"
        "        return image.flip(-1)\n"
    )
    with pytest.raises(ConfigError, match=r"mirror\.py, line \d.*takes one `image`"):
        load_plugin(plugin)
    assert "mirror" not in augmentations.describe()
