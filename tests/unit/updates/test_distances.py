"""Accuracy of the distances between rows."""

import pytest
import torch
from torch import Tensor

from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import WIDE
from support.column_ranks import Form, both_forms, the_same
from support.references import direct_squared_distances, random_rows


def distances(rows: Tensor, form: Form) -> Tensor:
    return the_same(form(rows, UpdateMatrix.squared_distances))


def assert_distances_right(rows: Tensor, form: Form, honest: int) -> None:
    found = distances(rows, form)
    expected = direct_squared_distances(rows)
    assert torch.equal(found, found.T)
    assert torch.equal(found.diagonal(), torch.zeros(len(rows), dtype=torch.float64))
    assert bool((found >= 0).all())
    torch.testing.assert_close(found[:honest, :honest], expected[:honest, :honest], rtol=1e-5, atol=0)


@both_forms
def test_distances_of_rows_that_differ_in_the_seventh_digit(form: Form) -> None:
    generator = torch.Generator().manual_seed(0)
    base = 1 + torch.rand(WIDE, generator=generator)
    rows = torch.stack([base + 1e-6 * torch.randn(WIDE, generator=generator) for _ in range(6)])
    gram = rows.double() @ rows.double().T
    plain = gram.diagonal()[:, None] + gram.diagonal()[None] - 2 * gram
    expected = direct_squared_distances(rows)
    assert float((plain - expected).abs().max() / expected.max()) > 1e-5  # the case is as hard as meant
    assert_distances_right(rows, form, honest=6)


@both_forms
@pytest.mark.parametrize("place", [0, 3, 6])
@pytest.mark.parametrize("size", [1e20, -1e20])
def test_honest_distances_beside_a_row_at_1e20(size: float, place: int, form: Form) -> None:
    honest = 1e-3 * random_rows(6, WIDE)
    rows = torch.cat([honest[:place], torch.full((1, WIDE), size), honest[place:]])
    order = [row for row in range(7) if row != place] + [place]
    found = distances(rows, form)[order][:, order]
    expected = direct_squared_distances(rows)[order][:, order]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@both_forms
def test_honest_distances_beside_two_huge_rows_of_opposite_sign(form: Form) -> None:
    rows = torch.cat([1e-3 * random_rows(5, WIDE), torch.full((1, WIDE), 1e20), torch.full((1, WIDE), -1e19)])
    assert_distances_right(rows, form, honest=7)


@both_forms
@pytest.mark.parametrize("gap", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("copies", [(3, 3), (3, 2), (1, 1)])
def test_distances_of_two_groups_of_identical_rows(copies: tuple[int, int], gap: float, form: Form) -> None:
    a = 1 + random_rows(1, WIDE, seed=1).abs()
    b = a + gap * random_rows(1, WIDE, seed=2)
    rows = torch.cat([a.expand(copies[0], -1), b.expand(copies[1], -1)])
    assert_distances_right(rows, form, honest=sum(copies))
    found = distances(rows, form)
    assert not found[: copies[0], : copies[0]].any()
    assert not found[copies[0] :, copies[0] :].any()


@both_forms
def test_two_nearly_equal_rows_far_from_the_others(form: Form) -> None:
    rows = random_rows(5, WIDE)
    rows[4] = 1000 + rows[4]
    rows[3] = rows[4]
    rows[3, 5] = rows[3, 5].nextafter(torch.tensor(torch.inf))
    assert 0 < float(distances(rows, form)[3, 4]) < 1e-7
    assert_distances_right(rows, form, honest=5)
