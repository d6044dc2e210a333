"""The coordinate-wise median by its definition."""

import torch

from fedsim.aggregators import build_aggregator


def test_median_of_an_even_number_is_the_lower_middle_value() -> None:
    assert build_aggregator("cwmed")(torch.tensor([[4.0], [1.0], [3.0], [2.0]])).tolist() == [2.0]
