"""TIES by its definition."""

import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_step
from support.references import integer_rows, random_rows
from support.sign_references import ties


@pytest.mark.parametrize("election", ["sign", "magnitude"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 33])
def test_ties_by_its_definition(count: int, sparsity: float, election: str) -> None:
    for seed in range(3):
        rows = random_rows(count, 101, seed=seed)
        step = build_aggregator("ties", sparsity=sparsity, election=election)(rows)
        assert_step(step, ties(rows, sparsity, election))


@pytest.mark.parametrize("election", ["sign", "magnitude"])
def test_ties_with_equal_magnitudes_and_tied_elections(election: str) -> None:
    for seed in range(10):
        rows = integer_rows(6, 40, seed)
        for sparsity in (0.0, 0.2, 0.5):
            aggregator = build_aggregator("ties", sparsity=sparsity, election=election)
            assert_step(aggregator(rows), ties(rows, sparsity, election))


def test_the_two_elections_of_ties_differ_where_few_are_loud() -> None:
    rows = torch.tensor([[1.0, 0.1], [2.0, 0.1], [-4.0, 0.1]])
    assert build_aggregator("ties", sparsity=0.5)(rows).tolist() == [1.5, 0.0]
    assert build_aggregator("ties", sparsity=0.5, election="magnitude")(rows).tolist() == [-4.0, 0.0]


def test_ties_compares_with_the_exact_quantile() -> None:
    """The quantile lies between two neighbouring float32 numbers: the upper one survives."""
    low = torch.tensor(1.0)
    high = low.nextafter(torch.tensor(2.0))
    rows = torch.stack([low, high, low, high])[None]
    assert build_aggregator("ties", sparsity=0.5)(rows).tolist() == [0.0, float(high), 0.0, float(high)]


def test_ties_reports_how_much_of_each_client_agreed() -> None:
    rows = torch.tensor([[3.0, 1.0, 0.1], [2.0, -2.0, 0.1], [1.0, 2.0, 0.1]])
    aggregator = build_aggregator("ties", sparsity=0.3)
    aggregator(rows)
    assert aggregator.diagnostics.per_client["agreed_share"].tolist() == [1.0, 0.5, 1.0]
    assert aggregator.diagnostics.scalars["undecided_share"] == pytest.approx(1 / 3)
