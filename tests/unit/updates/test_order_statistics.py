"""Order statistics and sums over the rows."""

import pytest
import torch

from fedsim.updates.order_statistics import (
    NETWORK_ROWS,
    count,
    lower_median,
    order_statistics,
    sum_rows,
    weighted_count,
)
from support.references import random_rows


@pytest.mark.parametrize("rows", range(1, 13))
def test_every_order_statistic_is_right_for_every_input_of_zeros_and_ones(rows: int) -> None:
    """A comparator network that sorts all 0-1 inputs sorts everything (Knuth, 5.3.4)."""
    block = torch.stack([(torch.arange(1 << rows) >> row & 1).float() for row in range(rows)])
    ordered = block.sort(dim=0).values
    for first in range(rows):
        for last in range(first + 1, rows + 1):
            assert torch.equal(torch.stack(order_statistics(block, range(first, last))), ordered[first:last])


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 16, 17, 31, NETWORK_ROWS, NETWORK_ROWS + 1, 40, 50, 101])
def test_order_statistics_and_median_on_both_sides_of_the_network_limit(rows: int) -> None:
    ties = torch.randint(-4, 5, (rows, 300), generator=torch.Generator().manual_seed(rows)).float()
    for block in (ties, random_rows(rows, 300, seed=rows), -random_rows(rows, 300, seed=rows).abs()):
        before = block.clone()
        assert torch.equal(torch.stack(order_statistics(block, range(rows))), block.sort(dim=0).values)
        assert torch.equal(lower_median(block), block.median(dim=0).values)
        assert torch.equal(block, before)


def test_sum_of_rows_is_float64_and_keeps_what_float32_loses() -> None:
    block = torch.tensor([[2.0**40], [1.0], [-(2.0**40)]])
    assert sum_rows(block).tolist() == [1.0]
    assert sum_rows(block).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 10, 300])
def test_counts_are_those_of_integers(rows: int, dtype: torch.dtype) -> None:
    signs = torch.randint(-1, 2, (rows, 5_001), generator=torch.Generator().manual_seed(rows))
    votes, chosen = torch.arange(rows) + 1, signs[0].abs()
    assert torch.equal(weighted_count(signs.to(dtype), votes, dim=0).long(), (signs * votes[:, None]).sum(0))
    assert torch.equal(weighted_count(signs.to(dtype), chosen.to(dtype), dim=1).long(), (signs * chosen).sum(1))
    for dim in (0, 1):
        assert torch.equal(count(signs.abs().to(dtype), dim).long(), signs.abs().sum(dim))
