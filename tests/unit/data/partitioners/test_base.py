"""Filling up clients that have too few samples."""

import pytest
import torch

from fedsim.data.partitioners.base import fill_up
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
