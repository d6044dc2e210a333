"""The policy for rows that contain NaN or infinity."""

import pytest
import torch

from fedsim.errors import NonFiniteError
from fedsim.server.nonfinite import count_nonfinite, usable_rows, zero_nonfinite
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import WIDE
from support.column_ranks import Form, both_forms, whole_of
from support.references import random_rows


def test_a_client_is_unusable_if_any_of_its_rows_is_bad() -> None:
    rows, buffers = torch.ones(4, 3), torch.ones(4, 2)
    rows[1, 0], buffers[3, 1] = torch.nan, torch.inf
    matrices = [UpdateMatrix(rows), UpdateMatrix(buffers)]
    assert usable_rows(matrices, [9, 7, 5, 3], "drop") == ([0, 2], [7, 3])
    assert usable_rows(matrices, [9, 7, 5, 3], "zero") == ([0, 1, 2, 3], [7, 3])
    with pytest.raises(NonFiniteError, match=r"\[7, 3\]"):
        usable_rows(matrices, [9, 7, 5, 3], "error")
    assert usable_rows([UpdateMatrix(torch.ones(2, 2))], [8, 6], "error") == ([0, 1], [])


@both_forms
def test_zeroing_replaces_bad_rows_in_a_copy(form: Form) -> None:
    rows = random_rows(3, WIDE)
    rows[1, 4] = torch.nan
    before = rows.clone()
    for zeroed in form(rows, lambda updates: whole_of(zero_nonfinite(updates))):
        assert torch.equal(zeroed, torch.stack([before[0], torch.zeros(WIDE), before[2]]))
    torch.testing.assert_close(rows, before, rtol=0, atol=0, equal_nan=True)
    assert all(form(before[[0, 2]], lambda clean: zero_nonfinite(clean) is clean))


def test_bad_coordinates_of_a_step_are_counted() -> None:
    assert count_nonfinite(torch.tensor([1.0, torch.nan, torch.inf, -torch.inf, 0.0])) == 3
