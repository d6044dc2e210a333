"""Diagnostics of a round, against scikit-learn and plain formulas."""

from functools import partial

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from fedsim.server.diagnostics import HonestMean, detection_auc
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from support.column_ranks import distributed, joined


def test_auc_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        trust = torch.randint(0, 4, (9,), generator=generator) / 4
        hostile = set(torch.randperm(9, generator=generator)[:4].tolist())
        truth = [client not in hostile for client in range(9)]
        assert detection_auc(trust, range(9), hostile) == pytest.approx(roc_auc_score(truth, trust.numpy()))
    assert detection_auc(trust, range(9), ()) is None
    assert detection_auc(trust, range(9), range(9)) is None


@pytest.mark.parametrize("offset", [0.0, 90.0, 1e4], ids=["far apart", "near", "nearly coincident"])
def test_mean_cosines_spread_and_distance_are_the_plain_formulas(offset: float) -> None:
    rows = torch.randn(37, 40_000, generator=torch.Generator().manual_seed(0)) + offset
    rows[4] = 0
    honest, vector, wide = [0, 2, 36], rows[7].clone(), rows.double()
    mean = wide[honest].mean(0)
    updates = UpdateMatrix(rows)
    found = HonestMean.of(updates, honest)
    assert torch.equal(found.mean, mean.float())
    close = partial(torch.testing.assert_close, rtol=1e-11, atol=1e-11)
    close(found.cosines, torch.nn.functional.cosine_similarity(wide, mean[None]))
    close(found.spread, (wide[honest] - mean).square().sum(1).mean().sqrt())
    close(found.distance(updates, vector), (wide[7] - mean.float()).norm())
    assert found.distance(updates, found.mean) == 0


def test_ranks_that_hold_columns_find_the_same_bits() -> None:
    rows = torch.randn(20, 3 * BLOCK + 5, generator=torch.Generator().manual_seed(0))

    def found(updates: UpdateMatrix) -> list[Tensor]:
        honest = HonestMean.of(updates, [0, 3, 4])
        return [honest.mean, honest.cosines, honest.spread, honest.distance(updates, updates.row(7))]

    whole = found(UpdateMatrix(rows))
    means, *others = zip(*distributed(rows, 3, found), strict=True)
    assert torch.equal(joined(means), whole[0])
    for parts, expected in zip(others, whole[1:], strict=True):
        assert all(torch.equal(part, expected) for part in parts)
