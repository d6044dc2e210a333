"""Choosing the smallest values."""

import torch

from fedsim.updates.neighbours import smallest


def test_smallest_breaks_ties_by_id_and_forgives_rounding() -> None:
    values = torch.tensor([3.0, 1.0, 3.0 * (1 - 1e-14), 2.0, 3.0], dtype=torch.float64)
    assert smallest(values, 3, [9, 8, 7, 6, 5]).tolist() == [False, True, False, True, True]
    assert smallest(values, 4, [9, 8, 7, 6, 5]).tolist() == [False, True, True, True, True]
    assert smallest(values, 4, [7, 8, 9, 6, 5]).tolist() == [True, True, False, True, True]
    assert smallest(values - 1e-9 * values.eq(3), 3, [9, 8, 7, 6, 5]).tolist() == [False, True, False, True, True]
    assert smallest(torch.zeros(2, 3), 1, [2, 0, 1]).tolist() == [[False, True, False]] * 2
    assert smallest(values, 5, range(5)).all()
