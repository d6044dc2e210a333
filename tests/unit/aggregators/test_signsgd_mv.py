"""signSGD with majority vote by its definition."""

import pytest

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_step
from support.references import integer_rows, random_rows
from support.sign_references import auto_scale, majority


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 40])
def test_majority_vote_by_its_definition(count: int) -> None:
    for seed in range(3):
        for rows in (random_rows(count, 61, seed=seed), integer_rows(count, 61, seed)):
            expected = majority(rows)
            assert_step(build_aggregator("signsgd_mv")(rows), expected * auto_scale(rows))
            assert_step(build_aggregator("signsgd_mv", scale=0.01)(rows), expected * 0.01)
