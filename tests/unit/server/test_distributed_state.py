"""State whose vectors are distributed over ranks: whole on rank 0, and cut again for any number of ranks."""

from typing import Any

import pytest
import torch

from fedsim.server.distributed_state import local_state, whole_row, whole_state
from fedsim.updates.columns import Exchange
from fedsim.updates.row_columns import RowColumns
from support.aggregation import assert_same
from support.column_ranks import on_column_ranks, shrink_blocks

PARAMETERS, BUFFERS = 21, 6


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch, 4)


def state(in_row: bool) -> dict[str, Any]:
    """One of everything that a state may hold: vectors over what the defence sees, and over the parameters."""
    generator = torch.Generator().manual_seed(0)
    seen = PARAMETERS + BUFFERS * in_row
    return {
        "rows": {4: torch.randn(seen, generator=generator), 7: torch.randn(PARAMETERS, generator=generator)},
        "moves": [torch.randn(2, seen, generator=generator)],
        "both": (torch.randn(seen, generator=generator, dtype=torch.float64), None),
        "trust": torch.arange(5.0),  # [K]
        "step": torch.tensor(3.0),
        "nothing": torch.empty(0),
        "name": "word",
        "scores": {1: [0.5, 2]},
    }


def columns_on(exchange: Exchange, in_row: bool) -> RowColumns:
    return RowColumns.distributed(PARAMETERS, BUFFERS, exchange, in_row=in_row, rows=5, device=torch.device("cpu"))


@pytest.mark.parametrize("in_row", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_a_state_that_is_cut_and_put_together_is_the_same(in_row: bool, ranks: int) -> None:
    whole = state(in_row)

    def there_and_back(exchange: Exchange) -> tuple[Any, list[int]]:
        columns = columns_on(exchange, in_row)
        local = local_state(whole, columns)
        assert_same(local["trust"], whole["trust"])
        sizes = [len(local["rows"][4]), len(local["rows"][7]), local["moves"][0].shape[1]]
        assert sizes == [columns.seen_here, columns.parameters_here, columns.seen_here]
        return whole_state(local, columns), sizes

    found = on_column_ranks(ranks, there_and_back)
    assert_same(found[0][0], whole)
    for column in range(2):
        assert sum(sizes[column] for _, sizes in found) == len(whole["rows"][(4, 7)[column]])
    for put_together, sizes in found[1:]:  # elsewhere than on rank 0 nothing is
        assert len(put_together["rows"][4]) == sizes[0]


@pytest.mark.parametrize("in_row", [False, True])
def test_a_step_of_parameters_and_buffers_is_put_together_in_its_order(in_row: bool) -> None:
    whole = torch.arange(float(PARAMETERS + BUFFERS))

    def there_and_back(exchange: Exchange) -> torch.Tensor | None:
        columns = columns_on(exchange, in_row)
        return whole_row(columns.local(whole), columns)

    assert_same(on_column_ranks(3, there_and_back), [whole] * 3)
    assert whole_row(None, RowColumns(3, 1)) is None
