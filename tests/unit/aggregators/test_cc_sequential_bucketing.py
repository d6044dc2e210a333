"""Centered clipping bucket after bucket against a plain iteration."""

import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_near, context_of
from support.iterative_references import plain_sequential
from support.references import random_rows


@pytest.mark.parametrize("huge", [1.0, 1e20])
@pytest.mark.parametrize(
    ("count", "size", "radius", "iterations"),
    [
        (1, 2, 2.0, 1),
        (2, 2, 2.0, 1),
        (5, 2, 3.0, 1),
        (6, 2, "auto", 2),
        (7, 3, 3.0, 2),
        (9, 4, 100.0, 1),
        (3, 9, 1.0, 1),
    ],
)
def test_sequential_buckets_in_order_of_cosine(
    count: int, size: int, radius: float | str, iterations: int, huge: float
) -> None:
    clipping = build_aggregator("cc_sequential_bucketing", bucket_size=size, radius=radius, iterations=iterations)
    v = torch.zeros(40, dtype=torch.float64)
    ids = [(5 * client + 3) % 11 for client in range(count)]
    for number in range(4):
        rows = random_rows(count, 40, seed=number) + 0.5
        if count > 2:
            rows[1] = rows[2]  # equal cosines
            rows[0] = 0
            rows[-1] *= huge
        v, buckets = plain_sequential(rows, v, context_of(ids, number).randomness(), size, radius, iterations, ids)
        assert sorted(row for bucket in buckets for row in bucket) == list(range(count))
        assert max(map(len, buckets)) <= size
        assert_near(clipping(rows, context_of(ids, number)), v, 1e-6)


def test_each_sequential_bucket_has_a_client_of_each_stratum() -> None:
    """Second round, one step per bucket: three of six rows point along v, three against it."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [-1.0, 0.0], [-1.0, 0.1], [-1.0, 0.2]])
    settings = {"bucket_size": 2, "radius": 1e-4}
    for number in range(6):
        clipping = build_aggregator("cc_sequential_bucketing", **settings)
        clipping.load_state_dict({"reference": torch.tensor([5.0, 0.0])})
        step = clipping(rows, context_of(range(6), number))
        # Every pull has length 1e-4 and hardly differs in direction: a bucket moves v by about 1e-4.
        torch.testing.assert_close(step, torch.tensor([5.0 - 3e-4, 0.0]), rtol=0, atol=2e-5)


def test_equal_cosines_are_ordered_by_client_id_not_by_rounding() -> None:
    """Multiples of one row have one cosine, which floating-point sums give only to fifteen digits."""
    row, other = random_rows(2, 3001).double()
    rows = torch.outer(torch.tensor([1.0, 3.0, 0.7, 11.0, 0.013], dtype=torch.float64), row)
    ids = [4, 2, 9, 1, 7]
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1], [4, 3, 2, 1, 0]):
        for number in range(4):
            clipping = build_aggregator("cc_sequential_bucketing", radius=20.0)
            clipping.load_state_dict({"reference": row + other})
            context = context_of([ids[place] for place in order], number)
            step = clipping(rows[order], context)
            randomness = context_of(range(5), number).randomness()
            v, _ = plain_sequential(rows[order], row + other, randomness, 2, 20.0, 1, context.client_ids)
            assert_near(step, v, 1e-6)


def test_while_the_reference_is_zero_the_order_is_random() -> None:
    rows = random_rows(6, 40) + 1
    steps = set()
    for number in range(4):
        fresh, zero = (build_aggregator("cc_sequential_bucketing", radius=2.0) for _ in range(2))
        zero.load_state_dict({"reference": torch.zeros(40)})
        step = fresh(rows, context_of(range(6), number))
        assert torch.equal(zero(rows, context_of(range(6), number)), step)
        steps.add(float(step[0]))
    assert len(steps) > 1
