"""Quantiles by counting, as a GPU finds them, against numpy and against the selection of the CPU."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.updates.counting import quantiles_by_counting
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.quantiles import absolute_quantiles
from fedsim.updates.sharded import ColumnShards

SHARES = [0.0, 0.1, 1 / 3, 0.5, 0.9, 0.999, 1.0]
BRACKETS = {"right": (0.5, 1.5), "whole": (-1.0, torch.inf), "below": (0.0, 1e-3), "above": (50.0, 60.0)}
ROWS = 6


def rows_of(columns: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Ordinary rows, zeros, mostly zeros, ties, and values of very different size."""
    rows = torch.randn(ROWS, columns, generator=torch.Generator().manual_seed(columns), dtype=torch.float64)
    rows[1], rows[2, ::2], rows[3] = 0, 0, rows[3].round()
    rows[4], rows[5] = rows[4] * 1e-35, rows[5].exp().pow(8)
    return rows.to(dtype)


def found(updates: UpdateMatrix, share: float, bracket: tuple[float, float] = BRACKETS["right"]) -> Tensor:
    lower, upper = (torch.full((ROWS,), value, dtype=updates.dtype) for value in bracket)
    return quantiles_by_counting(updates, share, lower, upper)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("columns", [1, 2, 3, 11, 1001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_they_equal_numpy_whatever_the_bracket(dtype: torch.dtype, columns: int, share: float) -> None:
    rows = rows_of(columns, dtype).nan_to_num_(posinf=6e4)
    expected = np.quantile(rows.double().abs().numpy(), share, axis=1)
    for bracket in BRACKETS.values():
        np.testing.assert_allclose(found(UpdateMatrix(rows), share, bracket).numpy(), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("share", SHARES)
def test_they_are_those_of_the_cpu_to_the_last_bit_whole_and_in_shards(share: float) -> None:
    rows = rows_of(3 * BLOCK + 77)
    expected = absolute_quantiles(UpdateMatrix(rows), share)
    assert torch.equal(found(UpdateMatrix(rows), share), expected)
    assert torch.equal(found(ColumnShards.cut(rows, 3), share), expected)


def test_the_number_of_reads_has_a_bound() -> None:
    reads = 0

    class Counted(UpdateMatrix):
        def sum_over_blocks(self, statistic):  # type: ignore[no-untyped-def]
            nonlocal reads
            reads += 1
            return super().sum_over_blocks(statistic)

    found(Counted(rows_of(1001)), 0.9, BRACKETS["whole"])
    assert reads <= 1 + 11  # 3 of 32 bits in each
