"""Sizes that follow from the clients' ids, by their formulas."""

from collections.abc import Callable
from fractions import Fraction
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from fedsim.data.partitioners.by_size import apportion
from support.partitions import LABELS, as_lists, split, table

FORMULAS: dict[str, Callable[[int], float]] = {
    "linear": lambda number: number,
    "square": lambda number: number**2,
    "exponential": exp,
}

OF_FLWR = {
    "linear": [35, 71, 106, 142, 178, 213, 252],
    "square": [7, 28, 64, 113, 178, 256, 351],
    "exponential": [1, 4, 11, 31, 85, 232, 633],
}
"""Sizes of 997 samples and 7 clients by flwr-datasets 0.6.1, which gives what rounding loses to the last client."""


@pytest.mark.parametrize("clients", [1, 2, 7, 10, 40])
@pytest.mark.parametrize("name", FORMULAS)
def test_sizes_are_in_proportion_to_the_formula_and_grow(name: str, clients: int, tmp_path: Path) -> None:
    sizes = np.array([len(share) for share in split(name, LABELS, clients, tmp_path, min_samples=0)])
    weights = np.array([FORMULAS[name](number) for number in range(1, clients + 1)])
    assert (np.abs(sizes - len(LABELS) * weights / weights.sum()) < 1).all()
    assert (np.diff(sizes) >= 0).all()
    assert sizes.sum() == len(LABELS)


@pytest.mark.parametrize("name", FORMULAS)
def test_sizes_are_those_of_flwr_but_for_what_rounding_loses(name: str, tmp_path: Path) -> None:
    sizes = [len(share) for share in split(name, LABELS, 7, tmp_path)]
    more = np.array(sizes) - OF_FLWR[name]
    assert set(more[:-1]) <= {0, 1}
    assert more[-1] == -more[:-1].sum()


@pytest.mark.parametrize("name", FORMULAS)
def test_thousands_of_clients_overflow_nothing(name: str, tmp_path: Path) -> None:
    shares = split(name, torch.arange(20_000) % 10, 3_000, tmp_path)
    sizes = [len(share) for share in shares]
    assert sum(sizes) == 20_000
    assert min(sizes) >= 1
    assert sizes[-1] == max(sizes)


def test_classes_are_mixed_as_in_the_whole(tmp_path: Path) -> None:
    chances = []
    for seed in range(20):
        counts = table(LABELS, split("linear", LABELS, 4, tmp_path, seed)).numpy()
        chances.append(stats.chi2_contingency(counts).pvalue)
    assert min(chances) > 1e-4
    assert 0.2 < np.mean(chances) < 0.8  # uniform where the classes are independent of the client


def test_which_samples_a_client_gets_is_random(tmp_path: Path) -> None:
    seen = {tuple(as_lists(split("square", LABELS, 3, tmp_path, seed))[0]) for seed in range(5)}
    assert len(seen) == 5


def test_numbers_are_apportioned_by_the_largest_remainder() -> None:
    draws = np.random.default_rng(0)
    for _ in range(200):
        weights = [int(weight) for weight in draws.integers(1, 50, draws.integers(1, 9))]
        total = int(draws.integers(0, 100))
        counts = apportion(total, weights)
        losses = [
            Fraction(total * weight, sum(weights)) - count for weight, count in zip(weights, counts, strict=True)
        ]
        assert sum(counts) == total
        assert all(abs(loss) < 1 for loss in losses)
        rounded_up = [loss + 1 for loss in losses if loss < 0]
        rounded_down = [loss for loss in losses if loss >= 0]
        assert not rounded_up or not rounded_down or min(rounded_up) >= max(rounded_down)
    assert apportion(10**15, [2**60, 3 * 2**60]) == [25 * 10**13, 75 * 10**13]
