"""SignGuard by its definition."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_step, context_of
from support.references import integer_rows, random_rows
from support.sign_references import signguard


@pytest.mark.parametrize("settings", [{}, {"lower": 0.9, "upper": 1.05}, {"upper": 1e-6, "lower": 0.0}], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 30])
def test_signguard_by_its_definition(count: int, settings: dict[str, Any]) -> None:
    for seed in range(2):
        rows = random_rows(count, 90, seed=seed) + 0.5
        rows[: count // 3] *= -3.5
        aggregator = build_aggregator("signguard", coordinate_share=1.0, **settings)
        expected, kept = signguard(rows, 0, 90, **settings)
        assert_step(aggregator(rows), expected)
        assert aggregator.diagnostics.trust.tolist() == [float(keep) for keep in kept]


def test_signguard_counts_signs_in_one_contiguous_window_drawn_each_round() -> None:
    rows = integer_rows(7, 40, seed=1) + 0.3 * random_rows(7, 40)
    windows = [torch.from_numpy(signguard(rows, start, 4)[0]) for start in range(37)]
    aggregator, seen = build_aggregator("signguard"), set()
    for seed in range(20):
        step = aggregator(rows, context_of(range(7), seed)).double()
        near = [start for start, window in enumerate(windows) if torch.allclose(step, window, rtol=1e-5, atol=1e-6)]
        assert near
        seen.add(near[0])
    assert len(seen) > 3


def test_every_coordinate_can_be_in_the_window_of_signguard() -> None:
    """Clients differ in one coordinate only, the first or the last: sometimes it is seen, mostly not."""
    for column in (0, 9):
        rows = torch.ones(5, 10)
        rows[0, column] = -1
        aggregator, kept = build_aggregator("signguard", coordinate_share=0.1), []
        for seed in range(60):
            aggregator(rows, context_of(range(5), seed))
            kept.append(bool(aggregator.diagnostics.trust[0]))
        assert 0 < kept.count(False) < 20  # 6 on average


def test_signguard_falls_back_to_the_norm_filter_then_to_all() -> None:
    rows = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [-10.0, -10.0], [-0.01, -0.01]])
    median = math.sqrt(2)
    narrow = build_aggregator("signguard", coordinate_share=1.0, lower=5.0, upper=20.0)(rows)
    assert_step(narrow, np.array([-1.0, -1.0]))  # only the fourth passes the norm filter; it is clipped
    assert float(narrow.norm()) == pytest.approx(median)
    nobody = build_aggregator("signguard", coordinate_share=1.0, lower=15.0, upper=20.0)(rows)
    assert_step(nobody, np.full(2, (3 - 1 - 0.01) / 5))


def test_signguard_clips_to_the_lower_median() -> None:
    rows = torch.tensor([[1.0], [2.0], [4.0], [5.0]])
    assert build_aggregator("signguard")(rows).item() == pytest.approx((1 + 2 + 2 + 2) / 4)


def test_signguard_filters_norms_by_the_usual_median() -> None:
    """Three times the lower median is 6, three times the usual one is 9."""
    aggregator = build_aggregator("signguard")
    aggregator(torch.tensor([[1.0], [2.0], [4.0], [6.5]]))
    assert aggregator.diagnostics.per_client["usual_norm"].tolist() == [True] * 4
    aggregator(torch.tensor([[1.0], [2.0], [4.0], [9.5]]))
    assert aggregator.diagnostics.per_client["usual_norm"].tolist() == [True, True, True, False]


def leading_plus_ones(*counts: int) -> torch.Tensor:
    return torch.tensor([[1.0] * count + [-1.0] * (10 - count) for count in counts])


def test_points_outside_every_cluster_belong_to_none() -> None:
    """Shares of + are 0, .4, .5, .5, .6 and of - 1, .6, .5, .5, .4, each over its maximum; the bandwidth is .233.

    The densest centre is the mean of the last three points, (8/9, 7/15). The second client's point (2/3, 3/5) lies
    .259 away from it, and further from the only other centre, the first client's point: it is in no cluster.
    """
    aggregator = build_aggregator("signguard", coordinate_share=1.0)
    step = aggregator(leading_plus_ones(0, 4, 5, 5, 6))
    assert aggregator.diagnostics.per_client["usual_signs"].tolist() == [False, False, True, True, True]
    assert step[4] == 1.0
    torch.testing.assert_close(step, torch.tensor([1.0] * 5 + [-1 / 3] + [-1.0] * 4))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 1, 4, 2]])
def test_of_equally_large_clusters_the_denser_one_counts_in_any_order(order: list[int]) -> None:
    """With 0, 1, 3, 3, 9 leading +1 the clusters are {0, 1}, {2, 3} and {4}.

    Client 1 lies within the bandwidth of both larger centres, which makes the second denser: 3 points instead of 2.
    """
    rows = leading_plus_ones(0, 1, 3, 3, 9)
    aggregator = build_aggregator("signguard", coordinate_share=1.0)
    aggregator(rows[order])
    usual = aggregator.diagnostics.per_client["usual_signs"].tolist()
    assert [client for client in range(5) if usual[order.index(client)]] == [2, 3]


def test_signguard_takes_nearly_equal_shares_of_signs_for_one_cluster_or_clusters_them() -> None:
    """Tiny bandwidths must neither fail in scikit-learn nor warn."""
    for flips in (1, 2, 50):
        rows = torch.ones(40, 60_000)
        rows[0, :flips] = -1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            step = build_aggregator("signguard", coordinate_share=1.0)(rows)
        assert bool((step > 0.9).all())


def test_signguard_does_not_read_the_rows_that_it_leaves_out() -> None:
    honest = 1e-3 * (1 + 0.1 * random_rows(6, 101))
    rows = torch.cat([honest[:3], torch.full((1, 101), 1e20), honest[3:]])
    step = build_aggregator("signguard", coordinate_share=1.0)(rows)
    assert_step(step, signguard(rows, 0, 101)[0], rtol=1e-5)
    assert float(step.abs().max()) < 2e-3
