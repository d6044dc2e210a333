"""Mixed, extended and sliced matrices equal the plain tensors that they stand for, whole and on several ranks."""

import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.updates.derived import MixedRows
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from support.aggregation import assert_same
from support.column_ranks import FORMS, Form, distributed, shrink_blocks, the_same, whole_of

COLUMNS = 5 * BLOCK + 77
WEIGHTS = torch.tensor([[0.5, 0.5, 0, 0, 0], [0.2, 0.2, 0.2, 0.2, 0.2], [0, -1.0, 0, 2.0, 0]], dtype=torch.float64)
RANGES = [(3, 20), (BLOCK - 5, 2 * BLOCK + 9), (COLUMNS - 4, COLUMNS)]


def selected(rows: Tensor, work: Callable[[UpdateMatrix], object]) -> list[object]:
    """The rows among others, on ranks."""
    return distributed(torch.cat([rows, rows[:2]]), 3, lambda updates: work(updates.select(range(len(rows)))))


forms = pytest.mark.parametrize("form", [*FORMS, selected], ids=["whole", "distributed", "selected"])


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(5, COLUMNS, generator=torch.Generator().manual_seed(0))


def assert_stands_for(
    form: Form, rows: Tensor, derive: Callable[[UpdateMatrix], UpdateMatrix], expected: Tensor
) -> None:
    """Every way to read the derived matrix gives what the tensor holds."""

    def check(source: UpdateMatrix) -> None:
        updates = derive(source)
        assert updates.shape == tuple(expected.shape)
        assert len(updates) == len(expected)
        assert updates.dtype == expected.dtype
        torch.testing.assert_close(whole_of(updates), expected)
        torch.testing.assert_close(whole_of(updates, updates.row(1)), expected[1])
        torch.testing.assert_close(whole_of(updates.select([2, 0])), expected[[2, 0]])
        torch.testing.assert_close(updates.row_norms(), expected.double().norm(dim=1), rtol=1e-6, atol=0)
        torch.testing.assert_close(whole_of(updates, updates.mean()), expected.mean(0))
        weights = torch.arange(len(expected), dtype=torch.float64)
        summed = (weights @ expected.double()).to(expected.dtype)
        found = whole_of(updates, updates.weighted_sum(weights))
        torch.testing.assert_close(found, summed, rtol=1e-5, atol=1e-6)
        direct = torch.cdist(expected.double(), expected.double()).square()
        torch.testing.assert_close(updates.squared_distances(), direct, rtol=1e-5, atol=1e-5)
        quantiles = np.quantile(expected.abs().double().numpy(), 0.9, axis=1)
        np.testing.assert_allclose(updates.absolute_quantiles(0.9).numpy(), quantiles, rtol=1e-6)

    form(rows, check)


@forms
def test_mixed_rows_are_weighted_sums(form: Form, rows: Tensor) -> None:
    assert_stands_for(form, rows, lambda updates: updates.mix(WEIGHTS), (WEIGHTS @ rows.double()).float())


@forms
def test_mixtures_of_mixtures(form: Form, rows: Tensor) -> None:
    expected = (WEIGHTS @ rows.double()).float()[[2, 1, 0]]
    assert_stands_for(form, rows, lambda updates: updates.mix(WEIGHTS).mix(torch.eye(3)[[2, 1, 0]]), expected)


@forms
def test_extended_rows_lie_below(form: Form, rows: Tensor) -> None:
    below = torch.stack([torch.zeros(COLUMNS), rows[0] * 3])
    expected = torch.cat([rows, below])
    assert_stands_for(form, rows, lambda updates: updates.extend(updates.cut_out(below)), expected)


@forms
def test_columns_are_those_of_the_ranges(form: Form, rows: Tensor) -> None:
    expected = torch.cat([rows[:, start:stop] for start, stop in RANGES], dim=1)
    assert_stands_for(form, rows, lambda updates: updates.columns(RANGES), expected)
    assert_stands_for(form, rows, lambda updates: updates.columns(RANGES[1:2]), rows[:, slice(*RANGES[1])])


@forms
def test_columns_of_derived_rows(form: Form, rows: Tensor) -> None:
    start, stop = 100, 3 * BLOCK
    mixed = (WEIGHTS @ rows.double()).float()
    assert_stands_for(form, rows, lambda updates: updates.mix(WEIGHTS).columns([(start, stop)]), mixed[:, start:stop])

    def extended(updates: UpdateMatrix) -> UpdateMatrix:
        return updates.extend(torch.zeros(1, updates.local_columns)).columns([(start, stop)])

    assert_stands_for(form, rows, extended, torch.cat([rows, torch.zeros(1, COLUMNS)])[:, start:stop])


FEW = 330
"""Columns of six small blocks."""
SPARSE = torch.zeros(2, FEW).index_fill_(1, torch.arange(0, FEW, 3), 1.5)
DERIVED: dict[str, Callable[[UpdateMatrix], UpdateMatrix]] = {
    "rows": lambda updates: updates,
    "selected": lambda updates: updates.select([4, 0, 4, 1]),
    "scaled": lambda updates: updates.scale(torch.linspace(-2, 2, updates.num_rows)),
    "scaled to float64": lambda updates: updates.scale(torch.linspace(-2, 2, updates.num_rows), torch.float64),
    "mixed": lambda updates: updates.mix(WEIGHTS),
    "extended": lambda updates: updates.extend(updates.cut_out(SPARSE)),
    "extended by equal rows": lambda updates: updates.extend(updates.cut_out(SPARSE[0]).expand(3, -1)),
    "mixed, scaled, selected, extended": lambda updates: (
        updates.mix(WEIGHTS).scale(torch.tensor([3.0, -1, 2])).select([2, 0]).extend(updates.row(1)[None])
    ),
    "columns": lambda updates: updates.columns([(3, 20), (60, 150), (326, FEW)]),
    "columns of an extension": lambda updates: updates.extend(updates.cut_out(SPARSE)).columns([(63, 64), (70, 300)]),
    "an extension of columns": lambda updates: (part := updates.columns([(0, 1), (130, 300)])).extend(
        torch.ones(2, part.local_columns)
    ),
    "columns on one rank": lambda updates: updates.columns([(70, 72)]),
    "columns of a mixture": lambda updates: updates.mix(WEIGHTS).columns([(10, 320)]).select([1, 0]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("derive", DERIVED.values(), ids=DERIVED)
def test_on_any_number_of_ranks_the_bits_are_those_of_the_whole(
    derive: Callable[[UpdateMatrix], UpdateMatrix], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_blocks(monkeypatch, 64)
    rows = torch.randn(5, FEW, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows[:, ::7], rows[3] = 0, rows[2]

    def read(source: UpdateMatrix) -> dict[str, Tensor]:
        updates = derive(source)
        weights = torch.linspace(-1, 2, updates.num_rows)
        return {
            "rows": whole_of(updates),
            "row": whole_of(updates, updates.row(1)),
            "mean": whole_of(updates, updates.mean()),
            "sum": whole_of(updates, updates.weighted_sum(weights)),
            "smallest": whole_of(updates, updates.map_order_statistics(range(1), lambda ordered: ordered[0])),
            "norms": updates.row_norms(),
            "gram": updates.gram(),
            "distances": updates.squared_distances(),
            "sign agreement": updates.sign_agreement(),
            "quantiles": updates.absolute_quantiles(0.7),
            "largest": torch.stack(updates.collect_over_blocks(lambda block: [block.amax(1)])),
            "length": updates.length(updates.mean()),
            "beside": updates.beside(updates.mean()[None]).gram(),
        }

    expected = read(UpdateMatrix(rows))
    for ranks in (2, 3, 8):
        assert_same(the_same(distributed(rows, ranks, read)), expected)


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
