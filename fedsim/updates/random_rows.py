"""Random rows [n, D] that do not depend on how the columns are cut: a generator for each (row, block of columns)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fedsim.seeds import derive_seed
from fedsim.updates.matrix import BLOCK, UpdateMatrix

Draw = Callable[[int, torch.Generator], Tensor]
"""Draws so many values [n] of one row with the generator."""


def draw_seed(generator: torch.Generator) -> int:
    """A seed for :func:`draw_rows`, taken from a generator of the round."""
    return int(torch.randint(2**62, (1,), generator=generator))


def draw_rows(seed: int, ids: Sequence[int], like: UpdateMatrix, draw: Draw) -> Tensor:
    """Rows [n, local_columns] of what ``draw`` draws, one for each id; columns, dtype and device are as in ``like``.

    >>> like = UpdateMatrix(torch.zeros(1, 3))
    >>> rows = draw_rows(0, [4, 7], like, normal)
    >>> torch.equal(rows[1:], draw_rows(0, [7], like, normal))
    True
    """
    rows = torch.empty(len(ids), like.local_columns, dtype=like.dtype, device=like.device)
    for row, its_id in zip(rows, ids, strict=True):
        # The bits of a draw must not depend on the device, so the CPU draws; a GPU is given whole rows.
        drawn = row if row.device.type == "cpu" else torch.empty_like(row, device="cpu")
        _draw_row(drawn, like.first_column // BLOCK, seed, its_id, draw)
        if drawn is not row:
            row.copy_(drawn)
    return rows


def _draw_row(row: Tensor, first_block: int, seed: int, its_id: int, draw: Draw) -> None:
    """Fill the row [local_columns], which lies on the CPU."""
    generator = torch.Generator()
    for number, piece in enumerate(row.split(BLOCK), first_block):
        generator.manual_seed(derive_seed(seed, "columns", its_id, number))
        piece.copy_(draw(len(piece), generator))


def normal(count: int, generator: torch.Generator) -> Tensor:
    """Standard normal values [n]."""
    return torch.randn(count, generator=generator)
