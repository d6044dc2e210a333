"""Which columns of the rows a rank works on, against one rank for each column counted by hand."""

from collections.abc import Sequence
from itertools import chain, product

import pytest
import torch
from torch import Tensor

from fedsim.updates.columns import Exchange
from fedsim.updates.row_columns import RowColumns
from support.column_ranks import on_column_ranks, shrink_blocks

BLOCK = 4
SIZES = [(1, 0), (3, 2), (8, 0), (9, 5), (17, 3), (30, 1)]
CASES = [pytest.param(*sizes, *case) for sizes, *case in product(SIZES, [1, 2, 3, 8], [False, True])]
every_case = pytest.mark.parametrize(("parameters", "buffers", "ranks", "in_row"), CASES)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch, BLOCK)


def of_ranks(parameters: int, buffers: int, ranks: int, in_row: bool) -> list[RowColumns]:
    def columns(exchange: Exchange) -> RowColumns:
        return RowColumns.distributed(
            parameters, buffers, exchange, in_row=in_row, rows=5, device=torch.device("cpu")
        )

    return on_column_ranks(ranks, columns)


def owned(columns: RowColumns) -> list[int]:
    return [column for start, stop in columns.own for column in range(start, stop)]


@every_case
def test_each_column_lies_on_one_rank_and_all_ranks_agree_on_which(
    parameters: int, buffers: int, ranks: int, in_row: bool
) -> None:
    everywhere = of_ranks(parameters, buffers, ranks, in_row)
    lists = [owned(columns) for columns in everywhere]
    assert sorted(chain(*lists)) == list(range(parameters + buffers))
    assert all(columns.ranges == everywhere[0].ranges for columns in everywhere)
    assert len(everywhere[0].ranges) == ranks
    assert [columns.here for columns in everywhere] == list(map(len, lists))
    if not in_row:
        assert set(lists[0]) >= set(range(parameters, parameters + buffers))  # beside the row
    blocks = -(-(parameters + buffers * in_row) // BLOCK)
    for columns in everywhere:
        assert columns.seen_here <= BLOCK * -(-blocks // ranks)


@every_case
def test_vectors_and_rows_are_cut_and_put_together_by_the_columns_that_a_rank_owns(
    parameters: int, buffers: int, ranks: int, in_row: bool
) -> None:
    total = parameters + buffers
    whole = torch.arange(total)
    rows, of_buffers = torch.arange(3.0 * total).view(3, total), torch.arange(buffers) % 2 == 0
    seen_in_all = total if in_row else parameters
    for columns in of_ranks(parameters, buffers, ranks, in_row):
        own = owned(columns)
        seen = [column for column in own if column < seen_in_all]
        beside = [column for column in own if column >= seen_in_all]
        assert columns.local(whole).tolist() == own
        assert columns.local(rows).equal(rows[:, own])
        assert as_lists(columns.split(columns.local(whole))) == [seen, beside]
        for gathered in (rows, rows[:, own]):  # as in shared memory, and as it is sent
            assert as_lists(columns.rows(gathered)) == [rows[:, seen].tolist(), rows[:, beside].tolist()]
        assert columns.seen_here == len(seen)
        assert columns.parameters_here == sum(column < parameters for column in own)
        said = [bool(of_buffers[column - parameters]) for column in own if column >= parameters]
        assert columns.of_buffers(of_buffers).tolist() == said
        spread = columns.spread(columns.local(whole))
        assert spread.shape == whole.shape
        assert spread[own].tolist() == own
        of_parameters = columns.of_parameters
        assert of_parameters is not None
        assert of_parameters.total == parameters
        assert of_parameters.cut_out(whole[:parameters]).tolist() == [column for column in own if column < parameters]
        assert of_parameters.here == columns.parameters_here


def as_lists(tensors: Sequence[Tensor]) -> list[list[float]]:
    return [tensor.tolist() for tensor in tensors]


@pytest.mark.parametrize("in_row", [False, True])
def test_without_ranks_all_columns_are_here(in_row: bool) -> None:
    columns, whole = RowColumns(5, 2, in_row), torch.arange(7)
    assert columns.local(whole).equal(whole)
    assert columns.spread(whole).equal(whole)
    assert columns.ranges == [[(0, 7)]]
    assert as_lists(columns.split(whole)) == ([list(range(7)), []] if in_row else [list(range(5)), [5, 6]])
    assert (columns.of_parameters, columns.of_vectors, columns.count(3)) == (None, [], 3)


def test_numbers_of_ranks_are_added_up() -> None:
    def count(exchange: Exchange) -> int:
        columns = RowColumns.distributed(20, 0, exchange, in_row=False, rows=5, device=torch.device("cpu"))
        return columns.count(columns.here)

    assert on_column_ranks(3, count) == [20, 20, 20]
