"""Centered clipping by hand, by a plain iteration and by ByzFL."""

import byzfl
import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_near, context_of
from support.iterative_references import plain_clipping
from support.references import random_rows

# Against other solvers -----------------------------------------------------------------------------


def test_centered_clipping_equals_byzfl_over_rounds() -> None:
    ours = build_aggregator("centered_clipping", radius=5.0, iterations=4)
    theirs = byzfl.CenteredClipping(L=4, tau=5.0)
    for seed in range(4):
        rows = random_rows(9, 50, seed=seed).double() + 1
        assert_near(ours(rows), theirs(rows), 1e-6)


# Hand-made numbers ---------------------------------------------------------------------------------


def test_the_clipped_share_is_reported() -> None:
    rows = torch.tensor([[1.0], [3.0], [5.0], [-90.0]])
    clipping = build_aggregator("centered_clipping", radius=2.0, iterations=1)
    assert clipping(rows).item() == pytest.approx(0.75)  # 1 + 2 + 2 - 2 by four
    assert clipping.diagnostics.scalars["clipped_share"] == 0.75
    assert clipping.diagnostics.trust is not None
    assert clipping.diagnostics.trust.tolist() == pytest.approx([1, 2 / 3, 0.4, 2 / 90])
    unbound = build_aggregator("centered_clipping")
    unbound(rows)
    assert unbound.diagnostics.scalars["clipped_share"] == 0


def test_radius_auto_is_the_lower_median_of_the_distances() -> None:
    """Distances 1, 3, 5 and 90: each row pulls by at most 3."""
    clipping = build_aggregator("centered_clipping", radius="auto", iterations=1)
    assert clipping(torch.tensor([[1.0], [3.0], [5.0], [-90.0]])).item() == pytest.approx((1 + 3 + 3 - 3) / 4)
    most_are_there = build_aggregator("centered_clipping", radius="auto")
    assert most_are_there(torch.tensor([[0.0], [0.0], [7.0]])).item() == 0


# State and rounds ----------------------------------------------------------------------------------


def test_the_reference_carries_over_rounds_with_changing_clients() -> None:
    clipping, v = build_aggregator("centered_clipping", radius=6.0), None
    for number, clients in enumerate([[0, 1, 2, 3], [5], [2, 9, 4, 1, 0, 7], [3, 1]]):
        rows = random_rows(len(clients), 60, seed=number) + 1
        v = plain_clipping(rows, v, radius=6.0)
        step = clipping(rows, context_of(clients, number))
        assert_near(step, v, 1e-6)
        step.fill_(123.0)  # the step is the caller's own memory
