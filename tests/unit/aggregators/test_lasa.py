"""LASA by its definition."""

from typing import Any

import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.updates.layout import RowLayout
from support.aggregation import assert_step, context_of
from support.references import integer_rows, random_rows
from support.sign_references import COLUMNS, LAYOUT, lasa


@pytest.mark.parametrize(
    "settings",
    [{}, {"sparsity": 0.0}, {"sparsity": 0.8}, {"lambda_norm": 0.4}, {"lambda_sign": 0.4, "lambda_norm": 3.0}],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 33])
def test_lasa_by_its_definition(count: int, settings: dict[str, Any]) -> None:
    for seed in range(4):
        rows = random_rows(count, COLUMNS, seed=seed) * torch.linspace(0.5, 2, count)[:, None]
        step = build_aggregator("lasa", **settings)(rows, context_of(range(count), layout=LAYOUT))
        assert_step(step, lasa(rows, LAYOUT, **settings))


def test_lasa_with_equal_magnitudes_and_zeros() -> None:
    for seed in range(10):
        rows = integer_rows(6, COLUMNS, seed)
        rows[seed % 6] = 0
        step = build_aggregator("lasa")(rows, context_of(range(6), layout=LAYOUT))
        assert_step(step, lasa(rows, LAYOUT))


def test_lasa_without_a_layout_takes_the_row_for_one_weight_layer() -> None:
    rows = random_rows(7, 60)
    assert_step(build_aggregator("lasa")(rows), lasa(rows, RowLayout({"row": (1, 60)})))
    assert_step(build_aggregator("lasa")(rows[:, :1]), lasa(rows[:, :1], RowLayout({"row": (1, 1)})))


@pytest.mark.parametrize("shape", [(60,), (3, 20), (3, 4, 5), (3, 2, 5, 2), (1, 3, 2, 5, 2)])
def test_lasa_sparsifies_tensors_of_dimension_two_and_four_only(shape: tuple[int, ...]) -> None:
    rows = 1 + torch.rand(1, 60, generator=torch.Generator().manual_seed(0))
    step = build_aggregator("lasa", sparsity=0.5)(rows, context_of([0], layout=RowLayout({"tensor": shape})))
    assert int((step == 0).sum()) == (30 if len(shape) in (2, 4) else 0)


def test_lasa_takes_what_lies_behind_the_layout_for_one_more_layer() -> None:
    rows = random_rows(6, COLUMNS + 9)
    whole = RowLayout({**LAYOUT.shapes, "buffers": (9,)})
    step = build_aggregator("lasa")(rows, context_of(range(6), layout=LAYOUT))
    assert_step(step, lasa(rows, whole))


def test_lasa_refuses_a_layout_of_another_row() -> None:
    with pytest.raises(ValueError, match=f"the layout has {COLUMNS} coordinates, the rows have 5"):
        build_aggregator("lasa")(torch.ones(3, 5), context_of(range(3), layout=LAYOUT))


def test_lasa_judges_each_layer_by_itself() -> None:
    """Client 3 sends the first layer against the others, client 0 the second one."""
    layout = RowLayout({"first": (4,), "second": (4,)})
    rows = torch.ones(5, 8)
    rows[3, :4], rows[0, 4:] = -1, -1
    aggregator = build_aggregator("lasa")
    assert aggregator(rows, context_of(range(5), layout=layout)).tolist() == [1.0] * 8
    assert aggregator.diagnostics.trust.tolist() == [0.5, 1.0, 1.0, 0.5, 1.0]


def test_lasa_keeps_both_of_two_clients() -> None:
    """Each is exactly one standard deviation from the median; rounding must not choose one of them."""
    for seed in range(20):
        rows = random_rows(2, COLUMNS, seed=seed) * (1 + seed)
        step = build_aggregator("lasa", sparsity=0.0)(rows, context_of(range(2), layout=LAYOUT))
        norms = rows.double().norm(dim=1, keepdim=True)
        assert_step(step, (rows.double() * (norms.min() / norms)).mean(0).numpy())


def test_lasa_takes_norms_that_differ_by_rounding_for_equal() -> None:
    """The same magnitudes in another order: the norms are equal, but their sums round differently."""
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    orders = [torch.randperm(1000, generator=torch.Generator().manual_seed(seed)) for seed in range(9)]
    rows = torch.stack([values[order] for order in orders])
    rows[4] *= -1
    assert len(set(rows.square().sum(1).tolist())) > 1
    others = rows[[0, 1, 2, 3, 5, 6, 7, 8]]
    assert_step(build_aggregator("lasa", sparsity=0.0)(rows), others.mean(0).numpy(), rtol=1e-12)


def test_lasa_compares_with_the_exact_quantile() -> None:
    """It lies between two neighbouring float32 numbers: only the upper one survives."""
    low = torch.tensor(1.0)
    high = low.nextafter(torch.tensor(2.0))
    assert build_aggregator("lasa", sparsity=0.5)(torch.stack([low, high])[None]).tolist() == [0.0, float(high)]


def test_lasa_beside_a_row_at_1e20() -> None:
    honest = 1e-3 * (1 + 0.1 * random_rows(6, COLUMNS))
    rows = torch.cat([honest[:2], torch.full((1, COLUMNS), -1e20), honest[2:]])
    aggregator = build_aggregator("lasa")
    step = aggregator(rows, context_of(range(7), layout=LAYOUT))
    assert_step(step, lasa(rows, LAYOUT), rtol=1e-5)
    assert aggregator.diagnostics.trust[2] == 0
