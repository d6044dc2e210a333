"""Nearest-neighbour mixing."""

import pytest
import torch

from fedsim.aggregators.pre import pre_aggregators
from support.aggregation import context_of, transform


def test_nnm_takes_the_row_itself_first_and_then_the_lower_ids() -> None:
    rows = torch.tensor([[0.0], [1.0], [-1.0], [1.0]])
    pre = pre_aggregators.build("nnm", num_byzantine=1)
    row_of_zero = {(0, 1, 2, 3): 0.0, (3, 2, 1, 0): 0.0, (0, 1, 3, 2): 2 / 3}
    for ids, expected in row_of_zero.items():
        assert transform(pre, rows, context_of(ids))[0].item() == pytest.approx(expected)
    far_twins = torch.tensor([[5.0], [5.0], [5.0], [6.0]])
    assert transform(pre, far_twins, context_of([3, 2, 1, 0]))[3].item() == pytest.approx(16 / 3)
