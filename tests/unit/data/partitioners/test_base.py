"""Filling up clients that have too few samples."""

from time import monotonic

import pytest
import torch
from torch import Tensor

from fedsim.data.partitioners.base import fill_up, samples_of
from support.randomness import seeded


@pytest.mark.parametrize("least", [0, 1, 3, 5])
def test_filling_up_moves_only_what_is_missing(least: int) -> None:
    for seed in range(30):
        owners = torch.randint(8, (40,), generator=seeded(seed)) ** 2 // 8  # 0 .. 6, small ones more often
        before, after = owners.clone(), fill_up(owners, 8, least)
        assert torch.equal(owners, before)
        sizes = [before.tolist().count(client) for client in range(8)]
        new = [after.tolist().count(client) for client in range(8)]
        assert min(new) >= least
        assert int((before != after).sum()) == sum(max(0, least - size) for size in sizes)
        assert all(new[client] == least for client in range(8) if sizes[client] < least)


def test_filling_up_takes_from_the_largest() -> None:
    owners = torch.tensor([0] * 4 + [1] * 9 + [2] * 5)
    after = fill_up(owners, 4, 2)
    assert torch.bincount(after).tolist() == [4, 7, 5, 2]


def one_by_one(owners: Tensor, num_clients: int, least: int) -> Tensor:
    """What fill_up does, as it is said: the largest client's first sample, again and again."""
    owners = owners.clone()
    sizes = torch.bincount(owners, minlength=num_clients).tolist()
    for client in range(num_clients):
        while sizes[client] < least:
            largest = sizes.index(max(sizes))
            owners[(owners == largest).nonzero()[0]] = client
            sizes[largest] -= 1
            sizes[client] += 1
    return owners


def test_samples_are_taken_from_the_largest_as_one_by_one() -> None:
    draws = torch.Generator().manual_seed(0)
    for seed in range(200):
        num_clients, least = seed % 17 + 1, seed % 4
        owners = torch.multinomial(torch.rand(num_clients, generator=draws) ** 5 + 1e-6, 70, True, generator=draws)
        assert torch.equal(fill_up(owners, num_clients, least), one_by_one(owners, num_clients, least))


def test_many_clients_share_many_samples_in_no_time() -> None:
    started = monotonic()
    parts = samples_of(fill_up(torch.zeros(200_000, dtype=torch.int64), 100_000, 1), 100_000)
    assert [len(part) for part in parts[1:]] == [1] * 99_999
    assert monotonic() - started < 20
