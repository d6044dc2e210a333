"""COPOD-DOS against pyod and its definition."""

import pytest
import torch
from pyod.models.copod import COPOD

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.copod_dos import copod_scores, cosine_distances
from fedsim.updates.matrix import UpdateMatrix
from support.distance_references import copod_dos, unit_cosine_distances
from support.references import direct_squared_distances, random_rows, random_vectors


@pytest.mark.parametrize(("samples", "columns"), [(3, 1), (3, 3), (5, 2), (6, 6), (40, 7), (50, 50)])
def test_copod_scores_equal_pyod(samples: int, columns: int) -> None:
    for seed in range(4):
        values = random_vectors(samples, columns, seed).exp()  # more than two: pyod rounds the skewness 0 of a pair
        expected = torch.from_numpy(COPOD().fit(values.numpy()).decision_scores_)
        torch.testing.assert_close(copod_scores(values), expected, rtol=1e-12, atol=1e-12)


def test_copod_scores_equal_pyod_with_ties() -> None:
    for seed in range(20):
        values = torch.randint(0, 4, (7, 5), generator=torch.Generator().manual_seed(seed)).double()
        expected = torch.from_numpy(COPOD().fit(values.numpy()).decision_scores_)
        torch.testing.assert_close(copod_scores(values), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [3, 5, 8, 40])
def test_copod_dos_equals_its_definition_with_pyod(count: int) -> None:
    for seed in range(3):
        rows = random_rows(count, 101, seed=seed)
        step = build_aggregator("copod_dos")(rows)
        torch.testing.assert_close(step.double(), copod_dos(rows), rtol=1e-6, atol=1e-7)


def test_copod_dos_counts_a_zero_row_as_orthogonal_to_all() -> None:
    rows = random_rows(6, 50)
    rows[[1, 4]] = 0
    torch.testing.assert_close(cosine_distances(UpdateMatrix(rows)), unit_cosine_distances(rows), rtol=0, atol=1e-14)
    step = build_aggregator("copod_dos")(rows)
    torch.testing.assert_close(step.double(), copod_dos(rows), rtol=1e-6, atol=1e-7)


def test_cosine_distances_of_nearly_parallel_rows_do_not_cancel() -> None:
    """Exact: rows (1, e, 0, ...) and (2, 0, 2e, ...) with e = 2^-20 have 1 - cos = 1 - 1/(1 + e^2)."""
    small = 2.0**-20
    rows = torch.tensor([[1.0, small, 0.0], [2.0, 0.0, 2 * small], [1e20, 0.0, 0.0]])
    found = cosine_distances(UpdateMatrix(rows))
    square = small**2
    assert float(found[0, 1]) == pytest.approx(square / (1 + square), rel=1e-6)
    assert float(found[0, 2]) == pytest.approx(square / 2, rel=1e-6)


@pytest.mark.parametrize("columns", [33, 1001])
def test_identical_updates_get_identical_weights(columns: int) -> None:
    """Their distances to the others are equal, but not the rounding of their places in a Gram matrix."""
    for seed in range(4):
        honest, attack = random_rows(8, columns, seed=seed), random_rows(1, columns, seed=99 + seed)
        rows = torch.cat([honest, attack.expand(5, -1)])
        aggregator = build_aggregator("copod_dos")
        aggregator(rows[torch.randperm(13, generator=torch.Generator().manual_seed(seed))])
        aggregator(rows)
        weights = aggregator.diagnostics.per_client["weight"]
        torch.testing.assert_close(weights[8:], weights[8:9].expand(5), rtol=1e-9, atol=0)


def test_parallel_updates_of_different_lengths_tie_in_the_cosine() -> None:
    row = random_rows(1, 1001)
    rows = row.double() * torch.tensor([[1.0], [3.0], [0.7], [1.9], [5.3]]).double()
    aggregator = build_aggregator("copod_dos")
    aggregator(rows)
    assert aggregator.diagnostics.per_client["cosine_score"].tolist() == [0.0] * 5


def test_copod_dos_sees_differences_in_the_seventh_digit() -> None:
    base = 1 + random_rows(1, 1001).abs()
    for seed in range(3):
        rows = base + 1e-6 * random_rows(7, 1001, seed=seed)
        aggregator = build_aggregator("copod_dos")
        aggregator(rows)
        wide = rows.double()
        scaled = wide / wide.norm(dim=1, keepdim=True)
        euclidean = COPOD().fit(direct_squared_distances(rows).sqrt().numpy()).decision_scores_
        cosine = COPOD().fit((direct_squared_distances(scaled) / 2).numpy()).decision_scores_
        found = aggregator.diagnostics.per_client["score"]
        torch.testing.assert_close(found, torch.from_numpy(euclidean + cosine), rtol=1e-9, atol=1e-9)


def test_a_huge_update_has_the_largest_copod_score_and_spoils_no_other() -> None:
    honest = 1e-3 * random_rows(9, 301)
    rows = torch.cat([honest[:4], torch.full((1, 301), 1e20), honest[4:]])
    aggregator = build_aggregator("copod_dos")
    aggregator(rows)
    score = aggregator.diagnostics.per_client["score"]
    assert int(score.argmax()) == 4
    far = torch.cat([honest[:4], torch.full((1, 301), 1e15), honest[4:]])  # as far from everybody, in float64
    aggregator(far)
    torch.testing.assert_close(score, aggregator.diagnostics.per_client["score"], rtol=1e-9, atol=0)
