"""Sizes drawn from a Dirichlet distribution."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from support.partitions import LABELS, split, table


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_sizes_follow_a_dirichlet(alpha: float, tmp_path: Path) -> None:
    labels = torch.zeros(2000, dtype=torch.int64)
    sizes = np.array(
        [[len(share) for share in split("quantity", labels, 5, tmp_path, seed, alpha=alpha)] for seed in range(500)]
    )
    variance = 0.2 * 0.8 / (5 * alpha + 1)
    assert np.allclose(sizes.mean(0) / 2000, 0.2, atol=5 * np.sqrt(variance / 500))
    assert np.allclose((sizes / 2000).var(0), variance, rtol=0.25)
    assert stats.kstest(sizes[:, 2] / 2000, stats.beta(alpha, 4 * alpha).cdf).statistic < 2.2 / np.sqrt(500)


def test_quantity_mixes_classes_as_in_the_whole(tmp_path: Path) -> None:
    labels = LABELS.repeat(5)
    statistics = []
    for seed in range(20):
        counts = table(labels, split("quantity", labels, 4, tmp_path, seed, alpha=5.0)).numpy()
        statistics.append(stats.chi2_contingency(counts[:, counts.sum(0) > 0]).pvalue)
    assert min(statistics) > 1e-4
    assert 0.2 < np.mean(statistics) < 0.8  # uniform where the classes are independent of the client
