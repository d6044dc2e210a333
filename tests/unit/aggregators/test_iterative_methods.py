"""RFA, Huber, the centered clippings and FedNGA against plain float64 iterations over all D coordinates."""

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.errors import ConfigError
from fedsim.updates.matrix import BLOCK
from support.aggregation import assert_near, context_of
from support.iterative_references import Step, plain_clipping, plain_fednga, plain_huber, plain_rfa
from support.references import random_rows

WIDER = 3 * BLOCK + 849
"""Four blocks, so three shards."""


# The definitions, in D-space and float64 -----------------------------------------------------------


PLAIN: dict[str, Step] = {
    "rfa": plain_rfa,
    "huber": plain_huber,
    "centered_clipping": plain_clipping,
    "fednga": plain_fednga,
}

CASES: list[tuple[str, dict[str, Any]]] = [
    ("rfa", {}),
    ("rfa", {"iterations": 15}),
    ("rfa", {"smoothing": 3.0}),
    ("huber", {}),
    ("huber", {"threshold": 5.0, "tolerance": 1e-9}),
    ("huber", {"threshold": 8.0, "iterations": 2}),
    ("huber", {"threshold": 1e6}),
    ("huber", {"threshold": 0.5, "smoothing": 6.0}),
    ("centered_clipping", {}),
    ("centered_clipping", {"radius": 4.0}),
    ("centered_clipping", {"radius": 0.5, "iterations": 10}),
    ("centered_clipping", {"radius": "auto"}),
    ("fednga", {}),
]

case = pytest.mark.parametrize(("name", "settings"), CASES)

SHARED = [
    *CASES,
    ("cc_random_bucketing", {"radius": 4.0}),
    ("cc_sequential_bucketing", {"radius": 4.0}),
    ("cc_random_bucketing", {"radius": "auto", "bucket_size": 3}),
    ("cc_sequential_bucketing", {"radius": "auto", "bucket_size": 3, "iterations": 2}),
]

every_case = pytest.mark.parametrize(("name", "settings"), SHARED)


@case
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 1), (2, 50), (3, 50), (7, 1), (8, 101), (33, 20)])
def test_step_equals_the_plain_iteration(name: str, settings: dict[str, Any], shape: tuple[int, int]) -> None:
    rows = random_rows(*shape, seed=1)
    rows[rows.shape[0] // 2] *= 30
    expected = PLAIN[name](rows, **settings)
    rounding = 1e-15 * float(rows.norm())
    assert_near(build_aggregator(name, **settings)(rows), expected, 1e-6, rounding)
    assert_near(build_aggregator(name, **settings)(rows.double()), expected, 1e-10, rounding)


@case
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_row_at_1e20_does_no_harm(name: str, settings: dict[str, Any], place: int) -> None:
    """Its weight of about 1e-20 times its length counts as much as any other row."""
    honest = 1e-3 * random_rows(6, 301)
    rows = torch.cat([honest[:place], torch.full((1, 301), -1e20), honest[place:]])
    expected = PLAIN[name](rows, **settings)
    assert float(expected.norm()) < 1e7
    assert_near(build_aggregator(name, **settings)(rows), expected, 1e-6)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rfa", {"iterations": 30, "smoothing": 1e-12}),
        ("huber", {"threshold": 2e-7, "smoothing": 1e-12, "tolerance": 0.0}),
        ("centered_clipping", {"radius": 3e-6, "iterations": 2}),
        ("centered_clipping", {"radius": "auto", "iterations": 9}),
    ],
)
def test_rows_that_differ_in_the_seventh_digit(name: str, settings: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    base = 1 + torch.rand(301, generator=generator, dtype=torch.float64)
    rows = base + 1e-7 * torch.randn(7, 301, generator=generator, dtype=torch.float64) * torch.arange(1, 8)[:, None]
    aggregator = build_aggregator(name, **settings)
    before: Tensor | None = None
    for _ in range(2):
        expected = PLAIN[name](rows, *([before] if name == "centered_clipping" else []), **settings)
        step = aggregator(rows)
        assert_near(step, expected, 1e-12)
        if name != "centered_clipping":
            assert_near(step - base, expected - base, 1e-6)
        before = expected


# State and rounds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["centered_clipping", "cc_random_bucketing", "cc_sequential_bucketing"])
def test_a_saved_reference_continues_with_the_same_bits(name: str) -> None:
    settings = {"radius": 3.0}
    rounds = [random_rows(7, 60, seed=seed) + 1 for seed in range(4)]
    ongoing = build_aggregator(name, **settings)
    assert ongoing.state_dict() == {}
    for number in range(2):
        ongoing(rounds[number], context_of(range(7), number))
    file = io.BytesIO()
    torch.save(ongoing.state_dict(), file)
    file.seek(0)
    resumed = build_aggregator(name, **settings)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for number in (2, 3):
        context = context_of(range(7), number)
        expected = ongoing(rounds[number], context)
        assert torch.equal(resumed(rounds[number], context_of(range(7), number)), expected)
        fresh = build_aggregator(name, **settings)(rounds[number], context_of(range(7), number))
        assert not torch.allclose(fresh, expected)


# What all of them share ----------------------------------------------------------------------------


@every_case
def test_permuted_clients_give_the_same_step_in_every_round(name: str, settings: dict[str, Any]) -> None:
    one, other = (build_aggregator(name, **settings) for _ in range(2))
    ids = [7, 2, 30, 4, 11, 5, 0]
    for number in range(4):
        rows = random_rows(7, 90, seed=number) * (1 + torch.arange(7))[:, None]
        order = torch.randperm(7, generator=torch.Generator().manual_seed(number)).tolist()
        step = one(rows, context_of(ids, number))
        again = other(rows[order], context_of([ids[row] for row in order], number))
        assert_near(again, step.double(), 1e-6)
        assert one.diagnostics.trust is None or torch.allclose(
            one.diagnostics.trust[order], other.diagnostics.trust, rtol=1e-6
        )


@every_case
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("columns", [1, 40])
def test_zero_and_identical_rows(name: str, settings: dict[str, Any], count: int, columns: int) -> None:
    aggregator = build_aggregator(name, **settings)
    zeros = torch.zeros(count, columns)
    for number in range(2):
        assert torch.equal(aggregator(zeros, context_of(range(count), number)), zeros[0])
    row = 1 + random_rows(1, columns).abs()
    step = aggregator(row.expand(count, -1), context_of(range(count), 2))
    factor = float(step.norm() / row.norm())
    assert factor > 0
    torch.testing.assert_close(step, factor * row[0])  # nothing but a multiple
    if name != "fednga" and "radius" not in settings:
        assert factor == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("rfa", "iterations", 0),
        ("rfa", "smoothing", 0.0),
        ("huber", "threshold", 0.0),
        ("huber", "threshold", "automatic"),
        ("huber", "tolerance", -1.0),
        ("centered_clipping", "radius", 0.0),
        ("centered_clipping", "radius", "automatic"),
        ("centered_clipping", "iterations", 0),
        ("cc_random_bucketing", "bucket_size", 0),
        ("cc_sequential_bucketing", "bucket_size", 0),
        ("cc_sequential_bucketing", "radius", -1.0),
    ],
)
def test_impossible_settings_are_rejected(name: str, setting: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        build_aggregator(name, **{setting: value})
    assert caught.value.key == setting
