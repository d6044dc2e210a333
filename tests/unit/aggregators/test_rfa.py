"""The geometric median against other solvers and a plain iteration."""

import byzfl
import pytest
import torch
from scipy.optimize import minimize

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_near
from support.iterative_references import plain_rfa
from support.references import random_rows

# The definitions, in D-space and float64 -----------------------------------------------------------


def test_a_median_that_nearly_coincides_with_a_row_is_reached_as_by_the_plain_iteration() -> None:
    """The distance to the middle row is a difference of products that agree in all their digits."""
    generator = torch.Generator().manual_seed(3)
    a, b, tilt = torch.randn(3, 200, generator=generator, dtype=torch.float64)
    crossing = torch.stack([a, -a, 2 * b, -2 * b])
    for gap in (1e-3, 1e-6, 1e-8, 1e-10):
        rows = torch.cat([crossing, gap * tilt[None]]) + 3.0
        for iterations in (2, 3, 6):
            expected = plain_rfa(rows, iterations, smoothing=1e-13)
            step = build_aggregator("rfa", iterations=iterations, smoothing=1e-13)(rows)
            tolerance = 1e-6 * float((expected - 3).norm()) + 1e-13
            assert float((step - expected).norm()) < tolerance, (gap, iterations)


# Against other solvers -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 7, 10])
def test_rfa_with_many_iterations_is_the_geometric_median(count: int) -> None:
    rows = random_rows(count, 6, seed=count).double() + 1
    rows[0] *= 50
    solved = minimize(
        lambda x: float((rows - torch.from_numpy(x)).norm(dim=1).sum()),
        rows.median(dim=0).values.numpy(),
        jac=lambda x: (
            ((torch.from_numpy(x) - rows) / (rows - torch.from_numpy(x)).norm(dim=1, keepdim=True)).sum(0).numpy()
        ),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    step = build_aggregator("rfa", iterations=2000)(rows)
    assert_near(step, torch.from_numpy(solved.x), 1e-6)
    pulls = (rows - step) / (rows - step).norm(dim=1, keepdim=True)
    assert float(pulls.sum(0).norm()) < 1e-6  # the condition of the optimum


def test_rfa_equals_byzfl() -> None:
    rows = random_rows(9, 50).double() + 1
    for iterations in (1, 3, 8):
        theirs = byzfl.GeometricMedian(nu=1e-6, T=iterations)(rows)
        assert_near(build_aggregator("rfa", iterations=iterations)(rows), theirs, 1e-6)


# Hand-made numbers ---------------------------------------------------------------------------------


def test_weights_are_reported() -> None:
    """Seen from zero, the rows are 1, 2 and 4 away."""
    rfa = build_aggregator("rfa", iterations=1)
    rfa(torch.tensor([[1.0], [2.0], [4.0]]))
    assert rfa.diagnostics.trust is not None
    assert rfa.diagnostics.trust.tolist() == pytest.approx([1.0, 0.5, 0.25])
    assert rfa.diagnostics.per_client["weight"].tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
