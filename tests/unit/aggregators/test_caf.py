"""The covariance filter by its definition, by hand and by ByzFL."""

import byzfl
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.caf import filter_weights
from support.distance_references import caf
from support.references import direct_squared_distances, random_rows


@pytest.mark.parametrize("f", [1, 2, 3])
def test_the_definition_of_caf_equals_byzfl_but_for_the_clients_without_weight(f: int) -> None:
    """On one column ByzFL's eigenvector is exact. So the reference above is what CAF is, and ours equals it."""
    filtered = 0
    for seed in range(5):
        rows = torch.randn(15, 1, generator=torch.Generator().manual_seed(seed))
        rows[:f] += 3
        torch.testing.assert_close(
            caf(rows, f, largest_of_all=True).float(), byzfl.CAF(f)(rows), rtol=1e-4, atol=1e-5
        )
        step = build_aggregator("caf", num_byzantine=f)(rows)
        torch.testing.assert_close(step.double(), caf(rows, f), rtol=1e-6, atol=1e-7)
        filtered += abs(step - rows.mean(0)).item() > 0.01
    assert filtered >= 3


def test_caf_with_no_byzantine_client_is_the_mean() -> None:
    rows = random_rows(6, 30)
    torch.testing.assert_close(build_aggregator("caf", num_byzantine=0)(rows), rows.mean(0))


def test_caf_by_hand() -> None:
    """Of 0, 0, 0, 4 about their mean 1: tau = 1, 1, 1, 9; then c = 8/9, 8/9, 8/9, 0 and no variance is left."""
    squared_distances = torch.tensor([[0.0, 0, 0, 16], [0, 0, 0, 16], [0, 0, 0, 16], [16, 16, 16, 0]]).double()
    expected = torch.tensor([8 / 9, 8 / 9, 8 / 9, 0]).double()
    torch.testing.assert_close(filter_weights(squared_distances, 1), expected)


def test_a_huge_client_without_weight_does_not_hold_the_filter_up() -> None:
    """Once it weighs nothing it must not be the maximum that the others are compared with."""
    rows = random_rows(9, 20, seed=4)
    rows[0] *= 1e12
    rows[1] += 4
    step = build_aggregator("caf", num_byzantine=4)(rows)
    torch.testing.assert_close(step.double(), caf(rows, 4), rtol=1e-5, atol=1e-6)
    aggregator = build_aggregator("caf", num_byzantine=4)
    aggregator(rows)
    assert aggregator.diagnostics.per_client["weight"][:2].tolist() == [0.0, 0.0]


def ring(corners: int, radius: float) -> Tensor:
    """A regular polygon, whose variance is the same in every direction."""
    angles = 2 * torch.pi * torch.arange(corners).double() / corners + radius
    return radius * torch.stack([angles.cos(), angles.sin()], dim=1)


def equal_byzantine_rows(seed: int) -> Tensor:
    rows = random_rows(11, 7, seed=seed).double()
    rows[2:5] = 2.5 * rows[2]
    rows[8:10] = -2 * rows[8]
    return rows


CLOSE_CALLS = {
    "no single direction": (torch.cat([ring(3, 1), ring(3, 3), ring(3, 0.2)]), 1),
    "no single direction for long": (torch.cat([ring(5, 1), ring(5, 3), ring(3, 0.2)]), 3),
    "equal rows far out": (equal_byzantine_rows(2), 4),
    "equal rows far out again": (equal_byzantine_rows(4), 3),
    "the sum of the weights is K-2f": (equal_byzantine_rows(0)[[0] * 8 + [1] * 4], 3),
}


@pytest.mark.parametrize("case", CLOSE_CALLS)
def test_caf_does_not_decide_by_the_rounding_of_the_distances(case: str) -> None:
    rows, f = CLOSE_CALLS[case]
    distances = direct_squared_distances(rows)
    expected = filter_weights(distances, f)
    for seed in range(8):
        noise = 1e-15 * torch.randn(distances.shape, generator=torch.Generator().manual_seed(seed)).double()
        found = filter_weights(distances * (1 + noise + noise.T), f)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_caf_of_two_far_groups_takes_the_larger_one() -> None:
    rows = torch.cat([torch.full((3, 4), 1e20), 1e-3 * torch.ones(4, 4)])
    assert torch.equal(build_aggregator("caf")(rows), rows[-1])
