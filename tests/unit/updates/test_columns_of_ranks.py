"""Statistics of rows that are distributed over ranks are the bits of those of the whole, however blocks fall."""

import pytest
import torch

from fedsim.updates.matrix import UpdateMatrix
from support.column_ranks import distributed, shrink_blocks, the_same

WIDTH = 64


@pytest.mark.parametrize("columns", [7, WIDTH - 1, 3 * WIDTH + 7, 4 * WIDTH])
@pytest.mark.parametrize("below", [1, 3])
def test_a_rank_whose_only_block_is_the_narrow_last_one_multiplies_alike(
    columns: int, below: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bits of a BLAS product depend on the strides of what it is given."""
    shrink_blocks(monkeypatch, WIDTH)
    generator = torch.Generator().manual_seed(0)
    rows, others = torch.randn(8, columns, generator=generator), torch.randn(below, columns, generator=generator)

    def products(updates: UpdateMatrix) -> list[torch.Tensor]:
        extended = updates.extend(updates.cut_out(others))
        return [extended.gram(), updates.extend(updates.cut_out(others)).gram(), extended.sign_agreement()]

    whole = products(UpdateMatrix(rows))
    wide = torch.cat([rows, others]).double()
    torch.testing.assert_close(whole[0], wide @ wide.T)
    for ranks in (2, 4, 5):
        for found, expected in zip(the_same(distributed(rows, ranks, products)), whole, strict=True):
            assert torch.equal(found, expected)
