"""Mixed, extended and sliced matrices equal the plain tensors that they stand for, whole and in shards."""

import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.updates.derived import MixedRows
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.sharded import ColumnShards

COLUMNS = 5 * BLOCK + 77
WEIGHTS = torch.tensor([[0.5, 0.5, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2], [0, -1.0, 0, 2.0, 0]], dtype=torch.float64)
RANGES = [(3, 20), (BLOCK - 5, 2 * BLOCK + 9), (COLUMNS - 4, COLUMNS)]
Form = Callable[[Tensor], UpdateMatrix]
forms = pytest.mark.parametrize(
    "form",
    [
        UpdateMatrix,
        lambda rows: ColumnShards.cut(rows, 3),
        lambda rows: UpdateMatrix(torch.cat([rows, rows[:2]])).select(range(5)),
    ],
    ids=["whole", "shards", "selected"],
)


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(5, COLUMNS, generator=torch.Generator().manual_seed(0))


def assert_stands_for(updates: UpdateMatrix, expected: Tensor) -> None:
    """Every way to read the matrix gives what the tensor holds."""
    assert updates.shape == tuple(expected.shape)
    assert len(updates) == len(expected)
    assert updates.dtype == expected.dtype
    torch.testing.assert_close(updates.tensor(), expected)
    torch.testing.assert_close(updates.row(1), expected[1])
    torch.testing.assert_close(updates.select([2, 0]).tensor(), expected[[2, 0]])
    torch.testing.assert_close(updates.row_norms(), expected.double().norm(dim=1), rtol=1e-6, atol=0)
    torch.testing.assert_close(updates.mean(), expected.mean(0))
    weights = torch.arange(len(expected), dtype=torch.float64)
    summed = (weights @ expected.double()).to(expected.dtype)
    torch.testing.assert_close(updates.weighted_sum(weights), summed, rtol=1e-5, atol=1e-6)
    direct = torch.cdist(expected.double(), expected.double()).square()
    torch.testing.assert_close(updates.squared_distances(), direct, rtol=1e-5, atol=1e-5)
    quantiles = np.quantile(expected.abs().double().numpy(), 0.9, axis=1)
    np.testing.assert_allclose(updates.absolute_quantiles(0.9).numpy(), quantiles, rtol=1e-6)


@forms
def test_mixed_rows_are_weighted_sums(form: Form, rows: Tensor) -> None:
    assert_stands_for(form(rows).mix(WEIGHTS), (WEIGHTS @ rows.double()).float())


@forms
def test_mixtures_of_mixtures(form: Form, rows: Tensor) -> None:
    twice = form(rows).mix(WEIGHTS).mix(torch.eye(3)[[2, 1, 0]])
    assert_stands_for(twice, (WEIGHTS @ rows.double()).float()[[2, 1, 0]])


@forms
def test_extended_rows_lie_below(form: Form, rows: Tensor) -> None:
    below = torch.stack([torch.zeros(COLUMNS), rows[0] * 3])
    assert_stands_for(form(rows).extend(below), torch.cat([rows, below]))


@forms
def test_columns_are_those_of_the_ranges(form: Form, rows: Tensor) -> None:
    expected = torch.cat([rows[:, start:stop] for start, stop in RANGES], dim=1)
    assert_stands_for(form(rows).columns(RANGES), expected)
    assert_stands_for(form(rows).columns(RANGES[1:2]), rows[:, slice(*RANGES[1])])


@forms
def test_columns_of_derived_rows(form: Form, rows: Tensor) -> None:
    start, stop = 100, 3 * BLOCK
    mixed = (WEIGHTS @ rows.double()).float()
    assert_stands_for(form(rows).mix(WEIGHTS).columns([(start, stop)]), mixed[:, start:stop])
    zero = torch.zeros(1, COLUMNS)
    assert_stands_for(form(rows).extend(zero).columns([(start, stop)]), torch.cat([rows, zero])[:, start:stop])


def test_selecting_from_an_extended_matrix_keeps_bits_beside_a_huge_row(rows: Tensor) -> None:
    rows[0] *= 1e30
    extended = UpdateMatrix(rows).extend(torch.ones(1, COLUMNS))
    assert torch.equal(extended.select([3, 5, 0]).tensor(), torch.stack([rows[3], torch.ones(COLUMNS), rows[0]]))


@pytest.mark.parametrize("read", [lambda mixed: mixed.row(1), lambda mixed: mixed.tensor()], ids=["row", "tensor"])
def test_reading_mixed_rows_keeps_no_block_alive(
    read: Callable[[UpdateMatrix], Tensor], rows: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks, seen, most = MixedRows.blocks, list[weakref.ref[torch.UntypedStorage]](), 0

    def watched(self: MixedRows) -> Iterator[Tensor]:
        nonlocal most
        for block in blocks(self):
            seen.append(weakref.ref(block.untyped_storage()))
            most = max(most, sum(storage() is not None for storage in seen))
            yield block

    monkeypatch.setattr(MixedRows, "blocks", watched)
    found = read(UpdateMatrix(rows).mix(WEIGHTS))
    assert found.shape[-1] == COLUMNS
    assert len(seen) == 6
    assert most <= 2, "the one that is read, and the one before"
