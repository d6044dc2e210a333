"""Splits without skew."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from support.partitions import LABELS, split, table


@pytest.mark.parametrize("clients", [2, 7, 300])
def test_iid_clients_have_the_same_size_up_to_one_and_all_classes_alike(clients: int, tmp_path: Path) -> None:
    shares = split("iid", LABELS, clients, tmp_path)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    if clients == 7:
        assert stats.chi2_contingency(table(LABELS, shares).numpy()).pvalue > 1e-4


def test_iid_gives_each_sample_to_each_client_equally_often(tmp_path: Path) -> None:
    labels, times = torch.zeros(12, dtype=torch.int64), np.zeros((3, 12))
    for seed in range(600):
        for client, share in enumerate(split("iid", labels, 3, tmp_path, seed)):
            times[client, share.numpy()] += 1
    assert np.abs(times / 600 - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 600)
