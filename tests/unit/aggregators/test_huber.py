"""The Huber aggregator against another solver and a plain iteration."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from scipy.optimize import minimize

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_near
from support.iterative_references import plain_huber
from support.references import random_rows


@pytest.mark.parametrize("threshold", [0.5, 2.0, 4.0, 100.0])
def test_huber_minimises_the_huber_loss(threshold: float) -> None:
    rows = random_rows(8, 6, seed=1).double() + 1
    rows[3] *= 20

    def loss(x: Any) -> float:
        d = (rows - torch.from_numpy(x)).norm(dim=1)
        return float(torch.where(d <= threshold, d.square() / 2, threshold * (d - threshold / 2)).sum())

    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 20_000, "maxfev": 20_000, "adaptive": True}
    solved = minimize(loss, rows.median(dim=0).values.numpy(), method="Nelder-Mead", options=options)
    step = build_aggregator("huber", threshold=threshold, iterations=5000, tolerance=1e-12)(rows)
    assert_near(step, torch.from_numpy(solved.x), 1e-5)
    assert loss(step.numpy()) <= solved.fun * (1 + 1e-10)


def test_huber_between_a_mean_and_a_median() -> None:
    rows = random_rows(6, 20) + 1
    assert_near(build_aggregator("huber", threshold=1e9, tolerance=0.0)(rows), rows.double().mean(0), 1e-6)
    nearly = build_aggregator("huber", threshold=1e-3, tolerance=0.0, iterations=500)(rows)
    assert_near(nearly, build_aggregator("rfa", iterations=500)(rows).double(), 1e-6)


def test_huber_stops_when_it_hardly_moves() -> None:
    rows = random_rows(6, 20) + 1
    for tolerance in (10.0, 0.1, 1e-3, 1e-6):
        huber = build_aggregator("huber", tolerance=tolerance)
        huber(rows)
        steps = int(huber.diagnostics.scalars["iterations"])
        path = [torch.zeros(20, dtype=torch.float64)]
        path += [plain_huber(rows, iterations=n, tolerance=0.0) for n in range(1, steps + 1)]
        moves = [float((after - before).norm()) for before, after in pairwise(path)]
        assert moves[-1] < tolerance
        assert all(move >= tolerance for move in moves[:-1])
