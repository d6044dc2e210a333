"""What holds for TIES, sign votes, DETOX, LASA and SignGuard alike."""

from typing import Any

import numpy as np
import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import context_of
from support.references import random_rows
from support.sign_references import COLUMNS, LAYOUT

NAMES = ["ties", "signsgd_mv", "election_coding", "detox", "lasa", "signguard"]
every_method = pytest.mark.parametrize("name", NAMES)


@every_method
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 6), (2, 6), (4, 6)])
def test_zero_and_identical_rows_of_any_size(name: str, shape: tuple[int, int]) -> None:
    count, columns = shape
    assert torch.equal(build_aggregator(name)(torch.zeros(shape)), torch.zeros(columns))
    row = torch.tensor([-5.0, 3.0, 0.0, 1.0, 0.5, -2.0])[:columns]
    step = build_aggregator(name)(row.expand(count, -1))
    expected = {
        "ties": torch.where(row.abs() > np.quantile(row.abs(), 0.9), row, 0),
        "signsgd_mv": row.sign() * row.abs().mean(),
        "election_coding": row.sign() * row.abs().mean(),
        "lasa": torch.where(row.abs() < np.quantile(row.abs(), 0.3), 0, row),
    }.get(name, row)
    torch.testing.assert_close(step, expected)


@every_method
def test_a_zero_row_among_others_gives_numbers(name: str) -> None:
    rows = torch.cat([torch.zeros(3, 30), random_rows(2, 30)])
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 1, 2]):
        assert bool(build_aggregator(name)(rows[order]).isfinite().all())


@every_method
def test_rows_mixed_by_a_pre_aggregator_count_as_rows(name: str) -> None:
    rows = random_rows(6, COLUMNS)
    weights = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixed = UpdateMatrix(rows).mix(weights)
    steps = [
        build_aggregator(name)(form, context_of(range(5), layout=LAYOUT)) for form in (mixed, mixed.tensor().clone())
    ]
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-6, atol=1e-7)


@every_method
def test_a_client_that_sends_nan_is_as_if_absent(name: str) -> None:
    rows = random_rows(6, COLUMNS)
    rows[4, 3] = torch.nan
    ids, kept = [9, 4, 7, 1, 2, 30], [0, 1, 2, 3, 5]
    with pytest.warns(FedsimWarning, match=r"clients \[2\]"):
        step = build_aggregator(name)(rows, context_of(ids, layout=LAYOUT))
    alone = build_aggregator(name)(rows[kept], context_of([ids[row] for row in kept], layout=LAYOUT))
    assert torch.equal(step, alone)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ties", {"sparsity": 1.0}),
        ("ties", {"election": "mass"}),
        ("signsgd_mv", {"scale": 0.0}),
        ("signsgd_mv", {"scale": "automatic"}),
        ("election_coding", {"redundancy": 2}),
        ("election_coding", {"redundancy": 0}),
        ("election_coding", {"assignment": "random"}),
        ("detox", {"group_size": 0}),
        ("detox", {"vote": "mode"}),
        ("detox", {"inner": "cwmedian"}),
        ("lasa", {"sparsity": -0.1}),
        ("lasa", {"lambda_norm": 0.0}),
        ("lasa", {"lambda_sign": 0.0}),
        ("signguard", {"lower": 3.0}),
        ("signguard", {"upper": 0.0}),
        ("signguard", {"coordinate_share": 0.0}),
        ("signguard", {"coordinate_share": 1.1}),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_aggregator(name, **settings)
    assert [caught.value.key] == list(settings)
