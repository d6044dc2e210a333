"""SignGuard by its definition."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import MeanShift as TheirMeanShift
from sklearn.cluster import estimate_bandwidth
from torch import Tensor

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_step, context_of
from support.attack_references import attacked_rows, crafted, papers_clients
from support.references import integer_rows, random_rows
from support.signguard_reference import MeanShift, sign_features, signguard

NARROW = 1e-6
"""scikit-learn's distances are rounded by up to 1e-8: a decision closer than this may go either way."""


def their_labels(features: np.ndarray[Any, Any], bandwidth: float) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shift = TheirMeanShift(bandwidth=bandwidth, bin_seeding=True, cluster_all=False)
        return shift.fit(features).labels_.tolist()


def rows_of_signs(clients: int, columns: int, seed: int) -> Tensor:
    """Each client with a share of pluses of its own, a few zeros, and a length of its own."""
    generator = torch.Generator().manual_seed(seed)
    shares = 0.3 + 0.4 * torch.rand(clients, 1, generator=generator)
    signs = 2.0 * (torch.rand(clients, columns, generator=generator) < shares) - 1
    signs *= torch.rand(clients, columns, generator=generator) < 0.95
    return signs * (0.5 + torch.rand(clients, 1, generator=generator))


@pytest.mark.parametrize("clients", [4, 5, 6, 7])
def test_the_slow_mean_shift_finds_what_scikit_learn_finds(clients: int) -> None:
    compared, left_out = 0, 0
    for seed in range(40):
        features = sign_features(rows_of_signs(clients, 200, seed).double().numpy())
        shift = MeanShift(features)
        found = shift.clusters()
        if found.narrow < NARROW:
            continue
        compared += 1
        assert shift.bandwidth == pytest.approx(estimate_bandwidth(features, quantile=0.5), abs=1e-7)
        assert found.labels == their_labels(features, shift.bandwidth)
        left_out += -1 in found.labels
    assert compared > 20
    assert left_out > 0


def assert_signguard(rows: Tensor, **settings: float) -> bool:
    """Whether the case was clear enough to compare."""
    columns = rows.shape[1]
    expected, kept, narrow = signguard(rows, 0, columns, **settings)
    if narrow < NARROW:
        return False
    aggregator = build_aggregator("signguard", coordinate_share=1.0, **settings)
    assert_step(aggregator(rows), expected, rtol=1e-5)
    assert aggregator.diagnostics.trust.tolist() == [float(keep) for keep in kept]
    return True


@papers_clients
@crafted
def test_signguard_at_the_papers_numbers_of_clients(clients: int, byzantine: int, attack: str) -> None:
    assert sum(assert_signguard(attacked_rows(clients, byzantine, attack, seed)) for seed in range(12)) > 6


@pytest.mark.parametrize("clients", [1, 2, 3, 4, 5, 6, 7, 8])
def test_signguard_with_sign_shares_of_all_kinds(clients: int) -> None:
    assert sum(assert_signguard(rows_of_signs(clients, 50, seed)) for seed in range(12)) > 4
    assert sum(assert_signguard(rows_of_signs(clients, 50, seed), lower=0.9, upper=1.2) for seed in range(12)) > 4


def test_signguard_counts_signs_in_one_contiguous_window_drawn_each_round() -> None:
    rows = integer_rows(7, 40, seed=1) + 0.3 * random_rows(7, 40)
    windows = [signguard(rows, start, 4)[0] for start in range(37)]
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
