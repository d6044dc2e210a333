"""Row statistics and column maps, whole and distributed over ranks, against direct float64 forms."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.order_statistics import lower_median
from support.aggregation import WIDE, WIDER, assert_same
from support.column_ranks import Form, both_forms, distributed, joined, the_same, whole_of
from support.references import direct_squared_distances, random_rows

COLUMNS = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, WIDE, WIDER]


def close(found: Tensor, expected: Tensor, rtol: float = 1e-12) -> None:
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=rtol, atol=0)


# Views ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [torch.zeros(3), torch.zeros(2, 2, 2), torch.zeros(2, 2, dtype=torch.long)])
def test_only_a_floating_matrix_is_accepted(rows: Tensor) -> None:
    with pytest.raises(ValueError, match="floating tensor"):
        UpdateMatrix(rows)


def test_the_matrix_reads_the_tensor_it_was_given() -> None:
    rows = torch.zeros(2, 3)
    updates = UpdateMatrix(rows)
    assert UpdateMatrix.of(updates) is updates
    assert updates.tensor().data_ptr() == UpdateMatrix.of(rows).tensor().data_ptr() == rows.data_ptr()


@both_forms
def test_shape_length_and_dtype(form: Form) -> None:
    def check(updates: UpdateMatrix) -> int:
        assert updates.shape == (len(updates), updates.num_columns) == (updates.num_rows, WIDE) == (5, WIDE)
        assert updates.dtype == torch.float64
        assert "rows=5" in repr(updates)
        return updates.local_columns

    here = form(torch.zeros(5, WIDE, dtype=torch.float64), check)
    assert here in ([WIDE], [BLOCK, BLOCK, 77])


@both_forms
def test_select_keeps_order_repetition_and_nests(form: Form) -> None:
    rows = random_rows(6, WIDE)

    def check(updates: UpdateMatrix) -> None:
        chosen = updates.select([4, 0, 5, 4]).select([3, 2, 1])
        assert torch.equal(whole_of(chosen), rows[[4, 5, 0]])
        assert torch.equal(chosen.row(1), updates.cut_out(rows[5]))
        assert chosen.shape == (3, WIDE)
        close(chosen.row_norms(), rows[[4, 5, 0]].double().norm(dim=1))
        close(chosen.squared_distances(), direct_squared_distances(rows[[4, 5, 0]]))

    form(rows, check)


def test_select_shares_the_memory_of_the_matrix() -> None:
    rows = random_rows(3, 10)
    chosen = UpdateMatrix(rows).select([2, 1])
    assert chosen.row(0).data_ptr() == rows[2].data_ptr()


# Statistics ----------------------------------------------------------------------------------------


@both_forms
@pytest.mark.parametrize("columns", COLUMNS)
def test_row_statistics_equal_their_direct_forms(columns: int, form: Form) -> None:
    rows = random_rows(5, columns, seed=columns)
    signs = rows.sign().long()

    def check(updates: UpdateMatrix) -> None:
        close(updates.row_norms(), rows.double().norm(dim=1))
        close(updates.squared_distances(), direct_squared_distances(rows))
        torch.testing.assert_close(updates.gram(), rows.double() @ rows.double().T, rtol=1e-12, atol=1e-9)
        agreement = updates.sign_agreement()
        assert agreement.dtype == torch.int64
        assert torch.equal(agreement, (signs[:, None] * signs[None]).sum(2))

    form(rows, check)


@both_forms
@pytest.mark.parametrize("columns", COLUMNS)
def test_sums_of_rows_equal_their_direct_forms(columns: int, form: Form) -> None:
    rows = random_rows(5, columns, seed=columns)
    weights = torch.tensor([0.5, 0.0, -2.0, 1e-3, 3.0])
    assert torch.equal(joined(form(rows, UpdateMatrix.mean)), rows.double().mean(0).float())
    expected = (weights.double()[:, None] * rows.double()).sum(0)
    found = joined(form(rows, lambda updates: updates.weighted_sum(weights)))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_ranks_give_the_same_bits_as_the_whole(ranks: int) -> None:
    rows = random_rows(7, WIDER)
    weights = torch.linspace(-1, 2, 7)

    def statistics(updates: UpdateMatrix) -> dict[str, Any]:
        return {
            "norms": updates.row_norms(),
            "gram": updates.gram(),
            "distances": updates.squared_distances(),
            "sign agreement": updates.sign_agreement(),
            "quantiles": updates.absolute_quantiles(0.9),
            "finite": updates.finite_rows(),
            "tally": updates.map_columns_with_tally(largest_and_count)[1],
        }

    def vectors(updates: UpdateMatrix) -> Tensor:
        largest = updates.map_columns_with_tally(largest_and_count)[0]
        median = updates.map_columns(lower_median)
        return torch.stack([updates.mean(), updates.weighted_sum(weights), median, largest, *updates.local_rows()])

    whole = UpdateMatrix(rows)
    assert_same(the_same(distributed(rows, ranks, statistics)), statistics(whole))
    assert torch.equal(joined(distributed(rows, ranks, vectors)), vectors(whole))
    assert torch.equal(vectors(whole)[3], rows.amax(0))
    assert torch.equal(statistics(whole)["tally"], (rows > 0).sum(1))


def largest_and_count(block: Tensor) -> tuple[Tensor, Tensor]:
    return block.amax(0), (block > 0).sum(1)


@both_forms
def test_a_row_of_weight_zero_is_not_read(form: Form) -> None:
    rows = torch.ones(3, WIDE)
    rows[1] = torch.nan
    step = joined(form(rows, lambda updates: updates.weighted_sum(torch.tensor([1.0, 0.0, 2.0]))))
    assert torch.equal(step, torch.full((WIDE,), 3.0))
    nothing = joined(form(rows, lambda updates: updates.weighted_sum(torch.zeros(3))))
    assert torch.equal(nothing, torch.zeros(WIDE))


@both_forms
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("column", [0, BLOCK - 1, BLOCK, WIDE - 1])
def test_a_single_bad_value_is_found_wherever_it_lies(column: int, bad: float, form: Form) -> None:
    rows = random_rows(3, WIDE)
    rows[1, column] = bad
    assert all(finite == [True, False, True] for finite in form(rows, UpdateMatrix.finite_rows))
    assert all(finite == [True, False] for finite in form(rows, lambda updates: updates.select([2, 1]).finite_rows()))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "statistic",
    [
        UpdateMatrix.row_norms,
        UpdateMatrix.squared_distances,
        UpdateMatrix.gram,
        UpdateMatrix.sign_agreement,
        UpdateMatrix.finite_rows,
        UpdateMatrix.mean,
        lambda updates: updates.absolute_quantiles(0.5),
        lambda updates: updates.weighted_sum(torch.tensor([1.0, 2.0, 3.0])),
        lambda updates: updates.map_columns(lower_median),
    ],
)
def test_no_statistic_changes_the_rows(statistic: Callable[[UpdateMatrix], object], dtype: torch.dtype) -> None:
    rows = random_rows(3, 50).to(dtype)
    before = rows.clone()
    statistic(UpdateMatrix(rows))
    assert torch.equal(rows, before)


def test_statistics_handed_out_may_be_changed_by_their_owner() -> None:
    updates = UpdateMatrix(random_rows(3, 20))
    expected = updates.squared_distances()
    updates.squared_distances().fill_(-1)
    updates.row_norms().fill_(-1)
    updates.gram().fill_(-1)
    assert torch.equal(updates.squared_distances(), expected)
    assert bool((updates.row_norms() > 0).all())
