"""Bucketing."""

from itertools import combinations

import byzfl
import numpy as np
import pytest
import torch

from fedsim.aggregators.pre import pre_aggregators
from fedsim.errors import ConfigError
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import context_of, transform
from support.references import random_rows


@pytest.mark.parametrize(("clients", "size"), [(1, 2), (2, 2), (7, 2), (7, 3), (8, 4), (7, 1), (5, 9)])
def test_every_client_is_in_one_bucket_and_only_the_last_is_smaller(clients: int, size: int) -> None:
    """Row k is the unit vector of client k, so that a bucket's mean shows who is in it."""
    pre = pre_aggregators.build("bucketing", bucket_size=size)
    buckets, context = pre(UpdateMatrix(torch.eye(clients)), context_of(range(100, 100 + clients), dropped=1))
    members = buckets.tensor() > 0
    assert members.sum(0).tolist() == [1] * clients
    sizes = members.sum(1)
    assert sizes.tolist() == [min(size, clients - start) for start in range(0, clients, size)]
    torch.testing.assert_close(buckets.tensor().sum(1), torch.ones(len(sizes)))
    assert pre.rows_after(clients) == len(sizes) == byzfl.Bucketing(size)(np.eye(clients)).shape[0]
    assert context.client_ids == tuple(range(len(sizes)))
    assert context.dropped == 1


def test_buckets_change_from_round_to_round_and_depend_on_ids_not_rows() -> None:
    pre = pre_aggregators.build("bucketing")
    rows = random_rows(9, 20)
    ids = [30, 2, 7, 15, 1, 9, 44, 3, 8]
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5)).tolist()
    seen = []
    for number in range(6):
        found = transform(pre, rows, context_of(ids, number))
        assert torch.equal(found, transform(pre, rows, context_of(ids, number)))
        permuted = transform(pre, rows[order], context_of([ids[row] for row in order], number))
        torch.testing.assert_close(permuted, found, rtol=1e-6, atol=1e-6)
        seen.append(found)
    assert all(not torch.allclose(one, other) for one, other in combinations(seen, 2))


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "two"])
def test_an_impossible_bucket_size_is_rejected(size: object) -> None:
    with pytest.raises(ConfigError, match="bucket_size"):
        pre_aggregators.build("bucketing", bucket_size=size)
