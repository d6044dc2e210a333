"""The trimmed mean by its definition."""

import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.aggregation import context_of
from support.references import random_rows, trimmed_mean

# Against independent forms -------------------------------------------------------------------------


@pytest.mark.parametrize("f", range(4))
def test_trimmed_mean_by_sorting(f: int) -> None:
    updates = random_rows(8, 100, seed=f)
    step = build_aggregator("cwtm", num_byzantine=f)(updates)
    torch.testing.assert_close(step.double(), trimmed_mean(updates, f), rtol=1e-6, atol=1e-7)


def test_trimmed_mean_of_an_even_number_averages_both_middle_values() -> None:
    assert build_aggregator("cwtm")(torch.tensor([[4.0], [1.0], [3.0], [2.0]])).tolist() == [2.5]


# Too large an f, and dropped clients ---------------------------------------------------------------


def test_a_dropped_client_counts_against_the_f_of_the_trimmed_mean() -> None:
    rows = torch.tensor([[0.0], [1.0], [2.0], [6.0], [100.0]])
    trimmed = build_aggregator("cwtm", num_byzantine=2)
    assert trimmed(rows, context_of(range(5))).item() == 2.0
    assert trimmed(rows, context_of(range(5), dropped=1)).item() == 3.0
    assert trimmed(rows, context_of(range(5), dropped=7)).item() == pytest.approx(21.8)


def test_fewer_rows_than_f_needs_are_an_error_and_never_another_f() -> None:
    with pytest.raises(ValueError, match="num_byzantine: 2 is too many for 3 clients under cwtm"):
        build_aggregator("cwtm", num_byzantine=2)(torch.tensor([[1.0], [5.0], [9.0]]))


def test_means_of_several_clients_are_trimmed_as_far_as_they_allow() -> None:
    rows = torch.tensor([[1.0], [5.0], [9.0], [99.0]])
    trimmed = build_aggregator("cwtm", num_byzantine=3)
    assert trimmed(rows, context_of(range(8)).of_groups(4)).item() == 7.0
    assert trimmed.diagnostics.scalars["num_byzantine"] == 1
