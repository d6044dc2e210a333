"""Iterates kept as affine combinations of rows."""

import pytest
import torch
from torch import Tensor

from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from support.column_ranks import distributed, the_same
from support.references import random_rows


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("gap", [1e-2, 1e-5, 1e-9])
def test_distances_that_cancel_are_right(gap: float, offset: float) -> None:
    """The point is near the last row, because the others balance around it."""
    generator = torch.Generator().manual_seed(4)
    a, b, tilt = torch.randn(3, 200, generator=generator, dtype=torch.float64)
    rows = torch.stack([a, -a, 2 * b, -2 * b, gap * tilt]) + offset
    weights = torch.tensor([0.5, 0.5, 0.1, 0.1, 0.0], dtype=torch.float64)
    expected = [((weights / weights.sum())[:, None] * (rows - row)).sum(0).norm() for row in rows]

    def distances(updates: UpdateMatrix) -> Tensor:
        iterate = AffineIterate(updates)
        iterate.move_to_mean(weights)
        return iterate.distances()

    for ranks in (1, 2):
        found = the_same(distributed(torch.cat([rows, torch.zeros(5, BLOCK)], dim=1), ranks, distances))
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=0)


def test_a_distance_is_right_where_one_row_has_nearly_all_the_weight() -> None:
    rows = random_rows(2, 77).double() + 3
    iterate = AffineIterate(UpdateMatrix(rows))
    iterate.move_to_mean(torch.tensor([1.0, 1e-10], dtype=torch.float64))
    assert float(iterate.distances()[0]) == pytest.approx(1e-10 * float((rows[1] - rows[0]).norm()), rel=1e-9, abs=0)


def test_an_iterate_follows_its_moves() -> None:
    rows = random_rows(5, 77).double()
    start = random_rows(1, 77, seed=8)[0].double()
    iterate, v = AffineIterate(UpdateMatrix(rows), start), start
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        shares = torch.rand(5, generator=generator, dtype=torch.float64) / 5
        before, v = v, v + shares @ (rows - v)
        iterate.step_towards(shares)
        torch.testing.assert_close(iterate.distances(), (rows - v).norm(dim=1), rtol=1e-12, atol=0)
        torch.testing.assert_close(iterate.point(), v, rtol=1e-12, atol=1e-14)
        assert iterate.last_move() == pytest.approx(float((v - before).norm()), rel=1e-12)
    iterate.move_to_mean(torch.ones(5))
    torch.testing.assert_close(iterate.point(), rows.mean(0), rtol=1e-12, atol=1e-14)
