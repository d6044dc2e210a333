"""Class shares drawn from a Dirichlet distribution."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from fedsim.data.partitioners import partitioners
from fedsim.errors import ConfigError
from support.partitions import LABELS, as_lists, split, table


def class_shares(alpha: float, clients: int, folder: Path, draws: int) -> np.ndarray:
    """The share of a class that each client gets, over many draws [draws * 20, K]."""
    labels = torch.arange(20 * 400) % 20
    shares = []
    for seed in range(draws):
        found = split("dirichlet", labels, clients, folder, seed, alpha=alpha, min_samples=0)
        shares.append(np.stack([torch.bincount(labels[share], minlength=20).numpy() for share in found]).T / 400)
    return np.concatenate(shares)


@pytest.mark.parametrize(("alpha", "clients"), [(0.5, 5), (2.0, 4), (20.0, 3)])
def test_class_shares_have_the_mean_and_variance_of_a_dirichlet(alpha: float, clients: int, tmp_path: Path) -> None:
    shares = class_shares(alpha, clients, tmp_path, draws=100)
    mean = 1 / clients
    variance = mean * (1 - mean) / (clients * alpha + 1)
    assert np.allclose(shares.mean(0), mean, atol=5 * np.sqrt(variance / len(shares)))
    assert np.allclose(shares.var(0), variance, rtol=0.15)


def test_class_shares_follow_a_beta_distribution_and_classes_are_drawn_apart(tmp_path: Path) -> None:
    shares = class_shares(0.7, 4, tmp_path, draws=50)
    for client in range(4):
        assert stats.kstest(shares[:, client], stats.beta(0.7, 0.7 * 3).cdf).statistic < 2.2 / np.sqrt(1000)
    first, second = shares[::20, 0], shares[1::20, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(50)


def test_a_small_alpha_skews_and_a_large_one_does_not(tmp_path: Path) -> None:
    labels = torch.arange(5000) % 10
    largest = {}
    for alpha in (0.05, 1.0, 10_000.0):
        counts = table(labels, split("dirichlet", labels, 5, tmp_path, alpha=alpha))
        largest[alpha] = float((counts.max(0).values / counts.sum(0)).mean())
        if alpha == 10_000.0:
            assert torch.allclose(counts.double(), torch.tensor(100.0, dtype=torch.float64), atol=10)
    assert largest[0.05] > 0.85 > largest[1.0] > 0.25 > largest[10_000.0]


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
def test_which_samples_of_a_class_a_client_gets_is_random(name: str, tmp_path: Path) -> None:
    """Not one piece after another in the order of the data."""
    shares = split(name, torch.zeros(4000, dtype=torch.int64), 4, tmp_path, alpha=5.0)
    for share in shares:
        assert abs(float(share.double().mean()) - 1999.5) < 5 * 4000 / np.sqrt(12 * len(share))


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
def test_equal_shares_are_equal_to_the_sample(name: str, tmp_path: Path) -> None:
    shares = split(name, torch.zeros(1000, dtype=torch.int64), 4, tmp_path, alpha=1e14)
    assert [len(share) for share in shares] == [250] * 4


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-6])
def test_the_smallest_alpha_gives_each_class_to_any_client(alpha: float, tmp_path: Path) -> None:
    labels = torch.arange(3000) % 1000
    counts = table(labels, split("dirichlet", labels, 4, tmp_path, alpha=alpha, min_samples=0), 1000)
    assert bool(((counts == 3) | (counts == 0)).all())
    classes = (counts > 0).sum(1).double()
    assert bool(((classes - 250).abs() < 5 * np.sqrt(1000 * 0.25 * 0.75)).all())


@pytest.mark.parametrize("name", ["dirichlet", "quantity"])
@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-9, 1e9, 1e300, 1.7e308])
def test_an_extreme_alpha_still_distributes_every_sample(name: str, alpha: float, tmp_path: Path) -> None:
    shares = split(name, LABELS, 7, tmp_path, alpha=alpha, min_samples=0)
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(997))
    counts = table(LABELS, shares)
    if alpha < 1:
        assert int((counts > 0).sum()) == (10 if name == "dirichlet" else len(LABELS.unique()))
    elif name == "dirichlet":
        assert bool(((counts - counts.sum(0) / 7).abs() <= 1.5).all())
    else:
        assert max(map(len, shares)) - min(map(len, shares)) <= 2


@pytest.mark.parametrize("name", ["dirichlet", "inner_dirichlet", "quantity"])
@pytest.mark.parametrize("alpha", [0, -1, float("inf"), float("nan")])
def test_a_concentration_is_positive_and_finite(name: str, alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        partitioners.build(name, alpha=alpha)
