"""Columns that lie on several ranks, and sums over all of them, by brute force."""

from collections.abc import Callable, Sequence
from itertools import accumulate, combinations_with_replacement, pairwise

import pytest
import torch
from torch import Tensor

from fedsim.errors import FedsimWarning
from fedsim.updates.columns import Columns, Exchange, SumTree, aligned_nodes, column_bounds
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import assert_same
from support.column_ranks import distributed, joined, on_column_ranks, piece_of, shrink_blocks, the_same

WIDTHS, RANKS = [1, 2, 5, 64], [1, 2, 3, 8]


class Rank:
    """One of several ranks of which each one has the same to say."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def gather(self, values: Tensor) -> list[Tensor]:
        return [values] * self.size


# Which columns lie where ---------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("ranks", RANKS)
def test_every_column_lies_on_one_rank_in_whole_blocks_from_rank_0_on(ranks: int, width: int) -> None:
    for total in range(3 * width * ranks + 2):
        bounds = column_bounds(total, width, ranks)
        assert bounds[0] == 0
        assert bounds[-1] == total
        assert len(bounds) == ranks + 1
        assert all(bound % width == 0 or bound == total for bound in bounds)
        blocks = [-(-(stop - start) // width) for start, stop in pairwise(bounds)]
        assert max(blocks) - min(blocks) <= 1
        assert bounds[1] > 0 or total == 0


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("total", [1, 4, 5, 12, 61])
def test_blocks_of_all_ranks_are_those_of_the_whole(total: int, ranks: int) -> None:
    whole = Columns.cut(total, width=4)
    parts = [Columns.cut(total, width=4, exchange=Rank(rank, ranks)) for rank in range(ranks)]
    vector = torch.arange(total)
    cut = [piece for part in parts for piece in part.split(part.cut_out(vector))]
    assert [piece.tolist() for piece in cut] == [piece.tolist() for piece in vector.split(4)]
    assert [piece.tolist() for piece in whole.split(vector)] == [piece.tolist() for piece in vector.split(4)]
    assert [part.first_block for part in parts] == list(
        accumulate((len(part.cuts) for part in parts[:-1]), initial=0)
    )
    assert sum(part.here for part in parts) == whole.here == total
    assert all(part.total == total and part.is_whole == (ranks == 1) for part in parts)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize(
    "ranges",
    [[(0, 30)], [(0, 1)], [(29, 30)], [(3, 4), (4, 5)], [(2, 9), (9, 9), (11, 25)], [(7, 8), (8, 16), (20, 28)], []],
)
def test_a_selection_keeps_its_columns_and_the_ends_of_blocks(ranges: list[tuple[int, int]], ranks: int) -> None:
    """However many ranks there are, the same columns make a block."""
    width, vector = 8, torch.arange(30)
    chosen = [column for start, stop in ranges for column in range(start, stop)]
    blocks: list[list[int]] = []
    for rank in range(ranks):
        part = Columns.cut(30, width, Rank(rank, ranks))
        picked = part.pick(ranges)
        stored = part.cut_out(vector)
        assert picked.total == len(chosen)
        assert torch.equal(picked.read(stored), torch.cat([stored[:0], *(stored[a:b] for a, b in picked.cuts)]))
        compact = picked.compact()
        assert compact.total == compact.bounds[-1] == len(chosen)
        assert [compact.widths, compact.here, compact.first_block] == [picked.widths, picked.here, picked.first_block]
        pieces = [piece.tolist() for piece in compact.split(picked.read(stored))]
        assert pieces == [stored[start:stop].tolist() for start, stop in picked.cuts]
        assert compact.cut_out(torch.tensor(chosen)).tolist() == [column for piece in pieces for column in piece]
        blocks += pieces
    ends = {stop for _, stop in ranges} | set(range(0, 30, width))
    expected, block = [], list[int]()
    for start, stop in ranges:
        for column in range(start, stop):
            block.append(column)
            if column + 1 == stop or (column + 1 in ends and (column + 1) % width == 0):
                expected.append(block)
                block = []
    assert blocks == expected


def test_all_columns_are_compact_already() -> None:
    columns = Columns.cut(30, 8, Rank(1, 2))
    assert columns.compact() is columns
    assert columns.pick([(0, 30)]) == columns


@pytest.mark.parametrize("ranges", [[(0, 5), (4, 6)], [(8, 9), (0, 1)]])
def test_ranges_rise(ranges: list[tuple[int, int]]) -> None:
    with pytest.raises(AssertionError, match="rise"):
        Columns.cut(30, 8).pick(ranges)


def test_a_selection_is_not_selected_from_again() -> None:
    with pytest.raises(AssertionError, match="selection"):
        Columns.cut(30, 8).pick([(0, 5)]).pick([(0, 2)])


# Sums ----------------------------------------------------------------------------------------------


def by_halves(values: Sequence[Tensor]) -> Tensor:
    """The sum in the tree, by its definition: of the largest power of two that fits, in halves; then the rest."""
    total = None
    while len(values):
        size = 1 << (len(values).bit_length() - 1)
        perfect, values = perfect_sum(values[:size]), values[size:]
        total = perfect if total is None else total + perfect
    return total


def perfect_sum(values: Sequence[Tensor]) -> Tensor:
    half = len(values) // 2
    return values[0] if half == 0 else perfect_sum(values[:half]) + perfect_sum(values[half:])


def leaves(count: int) -> Tensor:
    """Numbers whose sum depends on the order in which they are added."""
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, generator=generator) * 10 ** torch.randint(-3, 4, (count, 1), generator=generator)


@pytest.mark.parametrize("count", range(1, 71))
def test_a_sum_is_that_of_the_tree_for_every_cut_into_ranks(count: int) -> None:
    values = leaves(count)
    expected = by_halves(list(values))
    cuts = [tuple(sorted(cut)) for cut in combinations_with_replacement(range(count + 1), 2)]
    for inner in cuts[:: 1 + len(cuts) // 60]:
        whole = SumTree()
        for start, stop in pairwise([0, *inner, count]):  # three ranks, some of them perhaps without a leaf
            tree = SumTree()
            for number in range(start, stop):
                tree.add(values[number].clone(), 0, number)
            nodes = aligned_nodes(start, stop - start)
            assert len(nodes) == len(tree.values)
            for (level, number), value in zip(nodes, tree.values, strict=True):
                whole.add(value.clone(), level, number)
        assert torch.equal(whole.total(), expected), inner
    torch.testing.assert_close(expected, values.double().sum(0).float(), rtol=1e-4, atol=1e-2)


def test_aligned_nodes_cover_their_leaves_once_and_in_order() -> None:
    for first in range(20):
        for count in range(20):
            nodes = aligned_nodes(first, count)
            covered = [leaf for level, number in nodes for leaf in range(number << level, (number + 1) << level)]
            assert covered == list(range(first, first + count))


@pytest.mark.parametrize("total", [1, 60, 64, 65, 700])
def test_sums_of_blocks_do_not_depend_on_the_number_of_ranks_as_naive_sums_do(total: int) -> None:
    vector = leaves(total)[:, 0]

    def sums(columns: Columns) -> tuple[Tensor, Tensor]:
        pieces = [piece.sum() for piece in columns.split(columns.cut_out(vector))]
        naive = columns.exchange.gather(torch.stack([torch.zeros(()), *pieces]).cumsum(0)[-1:])
        return columns.add_up(pieces, lambda: torch.zeros(())), torch.cat(naive).cumsum(0)[-1]

    found = [
        the_same(on_column_ranks(ranks, lambda exchange: sums(Columns.cut(total, 8, exchange))))
        for ranks in range(1, 10)
    ]
    assert len({float(tree) for tree, _ in found}) == 1
    assert total < 700 or len({float(naive) for _, naive in found}) > 1


def test_values_that_are_added_up_are_not_changed() -> None:
    values = leaves(6)
    before = values.clone()
    Columns.cut(6, 1).add_up(values, lambda: values[0])
    Columns.cut(1, 1).add_up(values[:1], lambda: values[0]).fill_(9.0)  # what comes back belongs to the caller
    assert torch.equal(values, before)


def test_there_is_no_sum_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one column"):
        Columns.cut(0, 8).add_up([], lambda: torch.zeros(()))
    with pytest.raises(ValueError, match="at least one column"):
        on_column_ranks(2, lambda exchange: Columns.cut(0, 8, exchange).add_up([], lambda: torch.zeros(())))


def test_a_rank_without_a_block_learns_the_shape_from_the_example() -> None:
    def added(exchange: Exchange) -> Tensor:
        columns = Columns.cut(5, 8, exchange)
        values = [torch.tensor([[1, 2, 3]])] if columns.cuts else []
        return columns.add_up(values, lambda: torch.zeros(1, 3, dtype=torch.int64))

    assert the_same(on_column_ranks(4, added)).tolist() == [[1, 2, 3]]


# What else is exchanged ----------------------------------------------------------------------------


def test_tensors_of_different_dtypes_and_lengths_are_concatenated_in_the_order_of_ranks() -> None:
    dtypes = [torch.float32, torch.int64, torch.float64, torch.float32, torch.bool]

    def found(rank: int) -> list[Tensor]:
        """Rank 1 has found nothing, rank 2 nothing of every second tensor."""
        sizes = [0 if rank == 1 or (rank == 2 and place % 2) else rank + place for place in range(len(dtypes))]
        return [torch.arange(size).add(10 * rank).to(dtype) for size, dtype in zip(sizes, dtypes, strict=True)]

    ranks = on_column_ranks(4, lambda exchange: Columns.cut(9, 2, exchange).concatenate(found(exchange.rank)))
    expected = [torch.cat(parts) for parts in zip(*map(found, range(4)), strict=True)]
    for rank in ranks:
        assert [one.dtype for one in rank] == dtypes
        assert_same(rank, expected)
    assert_same(Columns.cut(9, 2).concatenate(found(3)), found(3))


@pytest.mark.parametrize(("columns", "ranks"), [(9, 2), (9, 3), (9, 8), (1, 3)])
def test_rows_are_put_together_on_every_rank(columns: int, ranks: int) -> None:
    rows = torch.arange(4.0 * columns).view(4, columns)

    def put_together(exchange: Exchange) -> Tensor:
        part = Columns.cut(columns, 2, exchange)
        return part.concatenate_rows(part.cut_out(rows))

    assert torch.equal(the_same(on_column_ranks(ranks, put_together)), rows)


# Matrices whose columns lie on several ranks -------------------------------------------------------


def test_the_tensor_of_a_distributed_matrix_is_the_whole_and_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = leaves(300).T.contiguous()
    shrink_blocks(monkeypatch, 64)
    assert torch.equal(the_same(distributed(rows, 3, UpdateMatrix.tensor)), rows)
    part = piece_of(rows, Rank(0, 2))
    with pytest.warns(FedsimWarning, match="each rank then holds all of it"):
        assert part.tensor().shape == (3, 2 * part.local_columns)


def test_what_a_matrix_says_of_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch, 64)
    parts = [piece_of(torch.zeros(2, 150), Rank(rank, 4)) for rank in range(4)]
    assert [part.local_columns for part in parts] == [64, 64, 22, 0]
    assert [part.first_column for part in parts] == [0, 64, 128, 150]
    assert all(part.shape == (2, 150) and part.is_distributed for part in parts)
    assert not UpdateMatrix(torch.zeros(2, 150)).is_distributed


@pytest.mark.parametrize("derive", [lambda updates: updates, lambda updates: updates.columns([(50, 60), (70, 290)])])
def test_vectors_beside_a_matrix_are_summed_over_the_same_columns(
    derive: Callable[[UpdateMatrix], UpdateMatrix], monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_blocks(monkeypatch, 64)
    rows = leaves(300).T.contiguous()

    def numbers(updates: UpdateMatrix) -> list[Tensor]:
        part = derive(updates)
        one, other = part.row(0), part.row(1).double()
        product = part.sum_over([one, other], lambda a, b: (a * b).sum())
        both = part.beside(torch.stack([one, part.row(1)]))
        assert product.dtype == part.length(one).dtype == torch.float64
        assert both.shape == (2, part.num_columns)
        return [product, part.length(one), part.length(other), both.gram(), both.row_norms()]

    product, length, *others = numbers(UpdateMatrix(rows))
    plain = derive(UpdateMatrix(rows)).tensor().double()
    torch.testing.assert_close(product, plain[0] @ plain[1])
    torch.testing.assert_close(length, plain[0].norm())
    torch.testing.assert_close(others[0], plain[1].norm())
    torch.testing.assert_close(others[1], plain[:2] @ plain[:2].T)
    torch.testing.assert_close(others[2], plain[:2].norm(dim=1))
    for ranks in (2, 3, 8):
        assert_same(the_same(distributed(rows, ranks, numbers)), [product, length, *others])


def test_pieces_of_vectors_are_those_of_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch, 64)
    rows = leaves(300).T.contiguous()

    def differences(updates: UpdateMatrix) -> Tensor:
        pieces = updates.split(updates.row(1))
        return torch.cat(
            [block[1] - piece for block, piece in zip(updates.blocks(), pieces, strict=True)] or [rows[0, :0]]
        )

    for ranks in (1, 2, 8):
        assert torch.equal(joined(distributed(rows, ranks, differences)), torch.zeros(300))
