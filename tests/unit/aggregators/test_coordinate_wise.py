"""The coordinate-wise aggregators against ByzFL."""

import byzfl
import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.references import random_rows


@pytest.mark.parametrize("rows", [3, 5, 8, 33, 40])
def test_coordinate_wise_rules_equal_byzfl(rows: int) -> None:
    """ByzFL works in float32 even on float64 rows, hence the absolute tolerance."""
    updates = random_rows(rows, 300, seed=rows)
    pairs = [(build_aggregator("fedavg"), byzfl.Average())]
    pairs += [(build_aggregator("cwtm", num_byzantine=f), byzfl.TrMean(f)) for f in range((rows - 1) // 2 + 1)]
    if rows % 2:
        pairs.append((build_aggregator("cwmed"), byzfl.Median()))
    for ours, theirs in pairs:
        torch.testing.assert_close(ours(updates), theirs(updates), rtol=1e-6, atol=1e-6)
