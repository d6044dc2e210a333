"""Centered clipping of random buckets against a plain iteration."""

import pytest
import torch

from fedsim.aggregators import Aggregator, build_aggregator
from support.aggregation import assert_near, context_of
from support.iterative_references import plain_clipping
from support.references import random_rows


def buckets_of(aggregator: Aggregator) -> list[list[int]]:
    """Rows with the same clip factor, where no two buckets are equally far."""
    found: dict[float, list[int]] = {}
    for row, factor in enumerate(aggregator.diagnostics.per_client["clip_factor"].tolist()):
        found.setdefault(factor, []).append(row)
    return list(found.values())


@pytest.mark.parametrize("huge", [1.0, 1e20])
@pytest.mark.parametrize(("count", "size"), [(1, 2), (2, 2), (5, 1), (5, 2), (6, 2), (7, 3), (4, 9)])
def test_random_buckets_are_averaged_before_clipping(count: int, size: int, huge: float) -> None:
    """The factors show the buckets; all else is recomputed from these."""
    drawn = set()
    for number in range(4):
        rows = random_rows(count, 40, seed=number) + 5 * torch.arange(1, count + 1)[:, None]
        rows[-1] *= huge
        clipping = build_aggregator("cc_random_bucketing", bucket_size=size, radius=0.7, iterations=2)
        step = clipping(rows, context_of(range(count), number))
        buckets = buckets_of(clipping)
        sizes = sorted((len(bucket) for bucket in buckets), reverse=True)
        assert sizes == [size] * (count // size) + [count % size] * (count % size > 0)
        means = torch.stack([rows[bucket].double().mean(0) for bucket in buckets])
        assert_near(step, plain_clipping(means, radius=0.7, iterations=2), 1e-6)
        drawn.add(str(sorted(map(sorted, buckets))))
    assert (len(drawn) > 1) == (1 < size < count)  # redrawn each round


def test_buckets_of_one_change_nothing() -> None:
    rows = random_rows(6, 40) + 1
    for name in ("cc_random_bucketing", "cc_sequential_bucketing"):
        alone = build_aggregator(name, bucket_size=1, radius="auto", iterations=1)(rows, context_of(range(6)))
        plain = plain_clipping(rows, radius="auto", iterations=1)
        if name == "cc_random_bucketing":
            assert_near(alone, plain, 1e-6)
        else:  # each row moves v before the next is read
            assert float((alone - plain).norm()) > 1e-3
