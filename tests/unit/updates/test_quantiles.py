"""Exact quantiles of magnitudes, against numpy.quantile in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.updates import quantiles
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.quantiles import InsideBracket, InsideBracketOnGpu, absolute_quantiles, quantiles_by_sorting
from support.column_ranks import distributed

SHARES = [0.0, 0.1, 1 / 3, 0.5, 0.9, 0.999, 1.0]
EXACT = 1e-15  # relative: numpy interpolates in another order, which may differ in the last bit


def numpy_quantiles(rows: Tensor, share: float) -> np.ndarray:
    return np.quantile(np.abs(rows.double().numpy()), share, axis=1)


def assert_exact(rows: Tensor, share: float) -> None:
    found = absolute_quantiles(UpdateMatrix(rows), share)
    assert found.dtype == torch.float64
    assert found.shape == (len(rows),)
    np.testing.assert_allclose(found.numpy(), numpy_quantiles(rows, share), rtol=EXACT, atol=0)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("columns", [1, 2, 3, 10, 11, 101, BLOCK, BLOCK + 1, 131_073, 3 * BLOCK + 77, 150_001])
def test_quantiles_equal_numpy_for_every_length(columns: int, share: float) -> None:
    rows = torch.randn(3, columns, generator=torch.Generator().manual_seed(columns))
    assert_exact(rows, share)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_quantiles_are_exact_in_other_dtypes(dtype: torch.dtype, share: float) -> None:
    rows = torch.randn(2, 40_001, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    assert_exact(rows, share)


def tricky_rows(columns: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    position = torch.arange(columns)
    normal = torch.randn(columns, generator=generator)
    return {
        "constant": torch.full((columns,), -2.5),
        "zeros": torch.zeros(columns),
        "mostly zeros": normal * (position % 50 == 0),
        "few values": torch.randint(-3, 4, (columns,), generator=generator).float(),
        "two values at the quantile": (position >= (9 * columns) // 10).float() + 1,
        "sorted": normal.sort().values,
        "heavy tail": normal.exp().pow(8),
        "tiny": normal * 1e-30,
        "huge": normal * 1e30,
        # The sample is strided by a power of two, so it sees only the odd values out.
        "sample sees only large values": torch.where(position % 4 == 0, 1000 + normal, normal),
        "sample sees only small values": torch.where(position % 4 == 0, normal / 1000, normal),
        "sample sees only zeros": torch.where(position % 4 == 0, torch.zeros(columns), normal),
    }


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", tricky_rows(4))
def test_quantiles_are_exact_where_the_sample_misleads(kind: str, share: float) -> None:
    assert_exact(tricky_rows(100_003)[kind][None], share)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_rows_of_very_different_size_do_not_disturb_each_other(share: float) -> None:
    rows = torch.randn(3, 100_001, generator=torch.Generator().manual_seed(3))
    rows *= torch.tensor([[1e-20], [1.0], [1e20]])
    assert_exact(rows, share)


@pytest.mark.parametrize("find", [InsideBracket, InsideBracketOnGpu])
@pytest.mark.parametrize("share", SHARES)
def test_ranks_give_the_same_bits(share: float, find: type, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.stack(list(tricky_rows(5 * BLOCK + 77).values()))
    whole = absolute_quantiles(UpdateMatrix(rows), share)
    monkeypatch.setattr(quantiles, "InsideBracket", find)
    for found in distributed(rows, 3, lambda updates: absolute_quantiles(updates, share)):
        assert torch.equal(found, whole)


def test_selected_rows_have_their_own_quantiles() -> None:
    rows = torch.randn(4, 1000, generator=torch.Generator().manual_seed(4)) * torch.arange(1, 5)[:, None]
    found = absolute_quantiles(UpdateMatrix(rows).select([3, 1]), 0.7)
    np.testing.assert_allclose(found.numpy(), numpy_quantiles(rows[[3, 1]], 0.7), rtol=EXACT)


def test_more_than_two_to_the_24_values_in_a_row() -> None:
    rows = torch.randn(1, (1 << 24) + 5, generator=torch.Generator().manual_seed(5))
    assert_exact(rows, 0.9)


@pytest.mark.parametrize("columns", [11, 21, 31, 1001])
def test_a_whole_position_gives_an_element_of_the_row(columns: int) -> None:
    rows = torch.randn(1, columns, generator=torch.Generator().manual_seed(6))
    quantile = absolute_quantiles(UpdateMatrix(rows), 0.9)
    assert int((rows.abs().double() > quantile).sum()) == (columns - 1) // 10
    assert int((rows.abs().double() >= quantile).sum()) == (columns - 1) // 10 + 1


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("columns", [1, 2, 11, 3 * BLOCK + 77])
def test_sorted_rows_give_the_same_bits(columns: int, share: float) -> None:
    """As on a GPU: of a matrix, and of a derived one with more rows than are computed at once."""
    rows = torch.randn(11, columns, generator=torch.Generator().manual_seed(columns))
    rows[1], rows[2, ::2], rows[3] = 0, 0, rows[3].round()
    scales = torch.linspace(-2, 3, 11)
    for updates in (UpdateMatrix(rows), UpdateMatrix(rows).scale(scales)):
        expected = absolute_quantiles(updates, share)
        assert torch.equal(quantiles_by_sorting(updates, share), expected)
