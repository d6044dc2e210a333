"""Adaptive clipping."""

import torch

from fedsim.aggregators.pre import pre_aggregators
from support.aggregation import transform


def test_arc_clips_to_the_next_largest_norm() -> None:
    """2 f (K - f) / K = 16 for f = 10, K = 50."""
    rows = torch.arange(1.0, 51.0)[:, None]
    found = transform(pre_aggregators.build("arc", num_byzantine=10), rows).flatten()
    assert found.tolist() == [*range(1, 35), *[34.0] * 16]
