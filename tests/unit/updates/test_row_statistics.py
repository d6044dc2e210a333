"""Row statistics that are sums over blocks: against plain formulas, alone and in one walk."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from fedsim.updates.gram import HELD_VALUES, RowProducts, sign_agreement_of_blocks
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_statistics import NORMS_AT_ONCE, RowStatistic
from support.aggregation import WIDE
from support.column_ranks import distributed
from support.references import random_rows

STATISTICS: tuple[RowStatistic, ...] = ("norms", "gram", "sign_agreement")


def read(updates: UpdateMatrix) -> list[Tensor]:
    return [updates.row_norms(), updates.gram(), updates.sign_agreement(), torch.tensor(updates.finite_rows())]


def prepared(updates: UpdateMatrix) -> UpdateMatrix:
    updates.prepare(*STATISTICS)
    return updates


def assert_same_bits(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("clients", [1, 2, NORMS_AT_ONCE + 1])
def test_one_walk_gives_each_statistic_the_bits_that_it_has_alone(clients: int) -> None:
    rows = random_rows(clients, WIDE)
    rows[:, ::3] = 0
    assert_same_bits(read(prepared(UpdateMatrix(rows))), read(UpdateMatrix(rows)))


def test_one_walk_over_columns_of_several_ranks_gives_the_bits_of_the_whole() -> None:
    rows = random_rows(5, WIDE)
    for of_rank in distributed(rows, 3, lambda updates: read(prepared(updates))):
        assert_same_bits(of_rank, read(UpdateMatrix(rows)))


@pytest.mark.parametrize(
    "derive",
    [
        lambda updates: updates.scale(torch.tensor([2.0, -1.0, 0.5])),
        lambda updates: updates.mix(torch.tensor([[1.0, 2.0, -1.0], [0.0, 0.5, 0.5]])),
        lambda updates: updates.extend(torch.ones(2, WIDE)),
    ],
    ids=["scaled", "mixed", "extended"],
)
def test_what_a_derived_matrix_knows_from_its_source_does_not_depend_on_preparation(
    derive: Callable[[UpdateMatrix], UpdateMatrix],
) -> None:
    rows = random_rows(3, WIDE)
    assert_same_bits(read(prepared(derive(UpdateMatrix(rows)))), read(derive(UpdateMatrix(rows))))


def test_one_walk_looks_at_each_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walks, blocks = [], UpdateMatrix.blocks

    def counted(updates: UpdateMatrix) -> Iterator[Tensor]:
        walks.append(updates)
        return blocks(updates)

    monkeypatch.setattr(UpdateMatrix, "blocks", counted)
    updates = UpdateMatrix(random_rows(3, WIDE))
    read(prepared(updates))
    assert len(walks) == 1
    updates.prepare(*STATISTICS)
    assert len(walks) == 1


@pytest.mark.parametrize("statistics", [(), ("norms",), ("gram",), ("sign_agreement",)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_rows_with_nan_or_infinity_are_found_whatever_is_known_of_them(
    statistics: tuple[RowStatistic, ...], dtype: torch.dtype
) -> None:
    rows = random_rows(7, WIDE).to(dtype)
    rows[1, 5], rows[2, -1] = float("nan"), float("-inf")
    rows[3, 0], rows[3, 1] = float("inf"), float("-inf")
    rows[4] = torch.finfo(dtype).max  # finite, but no sum of it is
    rows[5] = -torch.finfo(dtype).max
    updates = UpdateMatrix(rows)
    updates.prepare(*statistics)
    assert updates.finite_rows() == [True, False, False, False, True, True, True]


@pytest.mark.parametrize("clients", [1, 3, 4, 5, 20, 21, 64, 65, 300])
def test_products_of_rows_are_those_of_numpy_and_symmetric(clients: int) -> None:
    columns = min(1_001, 4 * HELD_VALUES // clients)
    block = random_rows(clients, columns + 3)[:, :columns]  # no block of a matrix is contiguous
    found = RowProducts(torch.float64)(block)
    wide = block.double().numpy()
    torch.testing.assert_close(found, torch.from_numpy(wide @ wide.T.copy()), rtol=1e-12, atol=1e-12)
    assert torch.equal(found, found.T)


def test_a_block_that_is_not_held_at_once_is_multiplied_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    block = random_rows(5, 1_001)
    expected = RowProducts(torch.float64)(block)
    monkeypatch.setattr("fedsim.updates.gram.HELD_VALUES", 5 * 64)
    torch.testing.assert_close(RowProducts(torch.float64)(block), expected, rtol=1e-12, atol=1e-12)


def test_products_do_not_depend_on_the_blocks_before() -> None:
    blocks = [random_rows(5, columns, seed=columns) for columns in (7, 1_000, 33)]
    products = RowProducts(torch.float64)
    for block in [*blocks, *reversed(blocks)]:
        assert torch.equal(products(block), RowProducts(torch.float64)(block))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_signs_agree_as_integers_say(dtype: torch.dtype) -> None:
    block = random_rows(21, 333).to(dtype)
    block[:, ::3], block[2], block[3, 1::2] = 0, -0.0, torch.finfo(dtype).tiny
    signs = block.sign().long()
    assert torch.equal(sign_agreement_of_blocks()(block), signs @ signs.T)
