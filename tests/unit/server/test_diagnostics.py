"""Diagnostics of a round, against scikit-learn and plain formulas."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from fedsim.server.diagnostics import cosines_to_honest_mean, detection_auc
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.sharded import ColumnShards


def test_auc_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        trust = torch.randint(0, 4, (9,), generator=generator) / 4
        hostile = set(torch.randperm(9, generator=generator)[:4].tolist())
        truth = [client not in hostile for client in range(9)]
        assert detection_auc(trust, range(9), hostile) == pytest.approx(roc_auc_score(truth, trust.numpy()))
    assert detection_auc(trust, range(9), ()) is None
    assert detection_auc(trust, range(9), range(9)) is None


def test_cosines_and_spread_are_the_plain_formulas_whole_and_in_shards() -> None:
    rows = torch.randn(6, 40_000, generator=torch.Generator().manual_seed(0))
    rows[4] = 0
    mean = rows[[0, 2, 3]].double().mean(0)
    expected = torch.nn.functional.cosine_similarity(rows.double(), mean[None])
    expected_spread = (rows[[0, 2, 3]].double() - mean).square().sum(1).mean().sqrt()
    for updates in (UpdateMatrix(rows), ColumnShards.cut(rows, 3)):
        cosines, spread = cosines_to_honest_mean(updates, [0, 2, 3])
        torch.testing.assert_close(cosines, expected)
        torch.testing.assert_close(spread, expected_spread)
