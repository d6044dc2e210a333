"""Bulyan by its definition."""

import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.distance_references import bulyan
from support.references import random_rows


@pytest.mark.parametrize(("clients", "f"), [(3, 0), (6, 0), (7, 1), (10, 1), (11, 2), (50, 11)])
def test_bulyan_reports_the_f_it_used(clients: int, f: int) -> None:
    aggregator = build_aggregator("bulyan")
    rows = random_rows(clients, 20)
    step = aggregator(rows)
    assert aggregator.diagnostics.scalars["num_byzantine"] == f
    assert aggregator.diagnostics.per_client["selected"].sum() == clients - 2 * f
    torch.testing.assert_close(step.double(), bulyan(rows, f), rtol=1e-6, atol=1e-7)


def test_bulyan_recomputes_the_scores_on_what_remains() -> None:
    """The five best at once are the small ones; once they are few, the far pair has the nearest neighbours."""
    rows = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [30.0], [31.0]])
    aggregator = build_aggregator("bulyan", num_byzantine=1)
    step = aggregator(rows)
    torch.testing.assert_close(step.double(), bulyan(rows, 1), rtol=1e-6, atol=1e-7)
    at_once = build_aggregator("multi_krum", num_byzantine=1, num_selected=5)
    at_once(rows)
    assert at_once.diagnostics.per_client["selected"].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert aggregator.diagnostics.per_client["selected"][5:].sum() == 1
