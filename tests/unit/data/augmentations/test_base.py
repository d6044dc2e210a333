"""Draws of augmentations."""

from math import sqrt

from scipy import stats

from fedsim.data.augmentations import uniform
from support.randomness import seeded


def test_uniform_draws_are_uniform() -> None:
    generator = seeded(0)
    draws = [uniform(-3, 5, generator) for _ in range(2000)]
    assert stats.kstest(draws, stats.uniform(-3, 8).cdf).statistic < 2.2 / sqrt(2000)
    assert uniform(2, 2, generator) == 2
