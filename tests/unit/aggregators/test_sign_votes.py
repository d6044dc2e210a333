"""signSGD with majority vote and election coding by their definitions."""

import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_step
from support.references import random_rows
from support.sign_references import auto_scale, cyclic_election, majority


def test_one_client_cannot_set_the_scale() -> None:
    rows = torch.cat([1e-3 * random_rows(4, 300), torch.full((1, 300), 1e20)])
    for name in ("signsgd_mv", "election_coding"):
        step = build_aggregator(name)(rows)
        expected = majority(rows) if name == "signsgd_mv" else cyclic_election(rows, 3)
        assert_step(step, expected * auto_scale(rows))
        assert float(step.abs().max()) < 1e-2


def test_sign_votes_of_float64_rows_keep_their_digits() -> None:
    rows = random_rows(5, 31).double() / 3
    for name in ("signsgd_mv", "election_coding"):
        step = build_aggregator(name)(rows)
        assert float(step.abs().max()) == pytest.approx(auto_scale(rows), rel=1e-14)


def test_hundreds_of_votes_in_bfloat16_are_counted_exactly() -> None:
    rows = torch.ones(601, 2, dtype=torch.bfloat16)
    rows[300:, 0] = -1
    rows[301:, 1] = -1
    for name in ("signsgd_mv", "election_coding"):
        assert build_aggregator(name, scale=1.0)(rows).tolist() == [-1.0, 1.0]
