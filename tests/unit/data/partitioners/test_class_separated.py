"""Clients with classes of their own."""

from pathlib import Path

import pytest
import torch

from fedsim.data.partitioners import partitioners
from fedsim.errors import ConfigError
from support.partitions import split, table
from support.randomness import seeded

TENS = torch.randperm(1000, generator=seeded(5)) % 10


@pytest.mark.parametrize("clients", [2, 3, 7, 10])
def test_without_spread_each_class_has_one_client_and_clients_as_many_classes(clients: int, tmp_path: Path) -> None:
    held = table(TENS, split("class_separated", TENS, clients, tmp_path, spread=0.0)) > 0
    assert (held.sum(0) == 1).all()
    assert set(held.sum(1).tolist()) <= {10 // clients, -(-10 // clients)}


@pytest.mark.parametrize("clients", [11, 25, 99])
def test_more_clients_than_classes_share_a_class_evenly(clients: int, tmp_path: Path) -> None:
    counts = table(TENS, split("class_separated", TENS, clients, tmp_path, spread=0.0))
    assert ((counts > 0).sum(1) == 1).all()
    assert set((counts > 0).sum(0).tolist()) <= {clients // 10, -(-clients // 10)}
    for label in range(10):
        sizes = counts[counts[:, label] > 0, label]
        assert int(sizes.max() - sizes.min()) <= 1


@pytest.mark.parametrize("clients", [3, 7, 25])
def test_with_all_spread_clients_hold_the_same_of_everything(clients: int, tmp_path: Path) -> None:
    counts = table(TENS, split("class_separated", TENS, clients, tmp_path, spread=1.0))
    assert (counts.max(0).values - counts.min(0).values <= 1).all()
    assert int(counts.sum(1).max() - counts.sum(1).min()) <= 1


@pytest.mark.parametrize("clients", [3, 7, 10, 25])
@pytest.mark.parametrize("spread", [0.1, 0.25, 0.6])
def test_the_spread_share_of_each_class_is_distributed_and_the_rest_stays_with_its_client(
    clients: int, spread: float, tmp_path: Path
) -> None:
    counts = table(TENS, split("class_separated", TENS, clients, tmp_path, spread=spread))
    dealt = 100 * spread / clients  # to each client of each class
    at_home = counts > dealt + 1
    assert at_home.any(0).all()
    assert at_home.any(1).all()
    assert int(at_home.sum()) == max(10, clients)
    assert ((counts - dealt).abs()[~at_home] < 1).all()
    for label in range(10):
        homes = int(at_home[:, label].sum())
        expected = dealt + 100 * (1 - spread) / homes
        assert ((counts[at_home[:, label], label] - expected).abs() < 2).all()


def test_rounding_favours_no_client_and_clients_of_classes_and_samples_are_random(tmp_path: Path) -> None:
    labels = torch.arange(90) % 30  # of each class of three, one is spread
    shares = split("class_separated", labels, 10, tmp_path, spread=1 / 3)
    assert [len(share) for share in shares] == [9] * 10
    homes, members = set(), set()
    for seed in range(40):
        counts = table(TENS, split("class_separated", TENS, 10, tmp_path, seed, spread=0.2))
        homes.add(int(counts[0].argmax()))
        share = split("class_separated", torch.zeros(20, dtype=torch.int64), 2, tmp_path, seed, spread=0.5)[0]
        members.add(tuple(share.tolist()))
    assert len(homes) > 5
    assert len(members) > 30


@pytest.mark.parametrize("spread", [-0.1, 1.1])
def test_a_spread_is_a_share(spread: float) -> None:
    with pytest.raises(ConfigError, match="spread"):
        partitioners.build("class_separated", spread=spread)
