"""Class shares of each client, at given sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from fedsim.data.partitioners import partitioners
from fedsim.errors import ConfigError
from support.partitions import LABELS, split, table


@pytest.mark.parametrize("sizes", [None, [1, 2, 3, 4], [700, 100, 100, 97]])
@pytest.mark.parametrize("alpha", [5e-324, 1e-6, 0.5, 1e300])
def test_sizes_are_as_given_whatever_alpha_is(alpha: float, sizes: list[int] | None, tmp_path: Path) -> None:
    shares = split("inner_dirichlet", LABELS, 4, tmp_path, alpha=alpha, sizes=sizes)
    weights = np.array(sizes or [1] * 4)
    assert (np.abs(np.array([len(share) for share in shares]) - 997 * weights / weights.sum()) < 1).all()
    assert sorted(torch.cat(shares).tolist()) == list(range(997))


def shares_of_classes(alpha: float, folder: Path, draws: int) -> np.ndarray:
    """Class shares of clients that are so small that no class is used up [draws * 24, 5]; the last takes the rest."""
    labels = torch.arange(25_000) % 5
    found = []
    for seed in range(draws):
        shares = split("inner_dirichlet", labels, 25, folder, seed, alpha=alpha, sizes=[5] * 24 + [2380])
        found.append(table(labels, shares[:24], 5).numpy() / 50)
    return np.concatenate(found)


def test_class_shares_of_a_client_are_dirichlet_multinomial(tmp_path: Path) -> None:
    shares = shares_of_classes(0.6, tmp_path, draws=4)
    variance = 0.2 * 0.8 / (5 * 0.6 + 1)
    sampled = variance + 0.2 * 0.8 / 50 * (1 - 1 / (5 * 0.6 + 1))
    assert np.allclose(shares.mean(0), 0.2, atol=5 * np.sqrt(sampled / len(shares)))
    assert np.isclose(shares.var(), sampled, rtol=0.25)
    assert stats.kstest(shares[:, 1], stats.beta(0.6, 4 * 0.6).cdf).statistic < 2.2 / np.sqrt(len(shares))


def test_a_large_alpha_mixes_classes_as_in_the_whole_and_a_small_one_separates_them(tmp_path: Path) -> None:
    labels = torch.arange(5000) % 10
    mixed = table(labels, split("inner_dirichlet", labels, 5, tmp_path, alpha=1e4))
    assert bool(((mixed - 100).abs() < 60).all())
    apart = table(labels, split("inner_dirichlet", labels, 100, tmp_path, alpha=1e-6))
    assert float((apart.max(1).values / 50).mean()) > 0.6


def test_a_class_that_is_used_up_is_replaced_by_the_shares_of_the_others(tmp_path: Path) -> None:
    """Two clients and two classes: whatever one has not taken, the other has."""
    labels = torch.tensor([0] * 90 + [1] * 10)
    for seed in range(20):
        counts = table(labels, split("inner_dirichlet", labels, 2, tmp_path, seed, alpha=1e-3), 2)
        assert counts.sum(0).tolist() == [90, 10]
        assert counts.sum(1).tolist() == [50, 50]


def test_as_many_sizes_as_clients_are_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^data\.partition\.sizes: 3 for 4 clients; give one for each client"):
        split("inner_dirichlet", LABELS, 4, tmp_path, sizes=[1, 2, 3])


@pytest.mark.parametrize("least", [0, -2])
def test_a_size_is_one_at_least(least: int) -> None:
    with pytest.raises(ConfigError, match=r"sizes\.3: .* greater than or equal to 1"):
        partitioners.build("inner_dirichlet", sizes=[1, 2, 3, least])
