"""The mean."""

import torch

from fedsim.aggregators import build_aggregator


def test_mean_does_not_lose_small_values_beside_large_ones() -> None:
    rows = torch.tensor([[2.0**40], [1.0], [-(2.0**40)], [1.0]])
    assert build_aggregator("fedavg")(rows).tolist() == [0.5]
    assert build_aggregator("cwtm", num_byzantine=0)(rows).tolist() == [0.5]
