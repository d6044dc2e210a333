"""Shards of sorted samples."""

from pathlib import Path

import pytest
import torch

from fedsim.errors import ConfigError
from support.partitions import LABELS, split, table
from support.randomness import seeded


@pytest.mark.parametrize(("clients", "each"), [(10, 2), (5, 2), (20, 1), (4, 5)])
def test_shards_that_fit_the_classes_give_no_client_more_classes(clients: int, each: int, tmp_path: Path) -> None:
    labels = torch.randperm(1000, generator=seeded(1)) % 10
    shards = clients * each
    counts = table(labels, split("shards", labels, clients, tmp_path, shards_per_client=each))
    assert (counts.sum(1) == 1000 // clients).all()
    assert ((counts > 0).sum(1) <= each).all()
    assert (counts % (1000 // shards) == 0).all()


@pytest.mark.parametrize(("clients", "each"), [(7, 2), (30, 3), (300, 2), (1, 4), (997, 1)])
def test_shards_are_equal_up_to_rounding_and_cross_few_boundaries(clients: int, each: int, tmp_path: Path) -> None:
    shares = split("shards", LABELS, clients, tmp_path, shards_per_client=each)
    counts, least = table(LABELS, shares), 997 // (clients * each)
    assert all(each * least <= len(share) <= each * (least + 1) for share in shares)
    held = int((counts > 0).sum())
    assert held <= clients * each + 10 - 1  # each boundary between classes cuts one shard at most
    within_one_class = int(torch.bincount(LABELS).min()) >= least + 1
    assert not within_one_class or ((counts > 0).sum(1) <= 2 * each).all()


def test_clients_get_shards_at_random_and_a_shard_any_sample_of_its_class(tmp_path: Path) -> None:
    labels = torch.arange(100) % 2
    classes, sets = set(), set()
    for seed in range(40):
        shares = split("shards", labels, 2, tmp_path, seed, shards_per_client=2)
        classes.add(tuple(table(labels, shares, 2)[0].tolist()))
        sets.add(tuple(shares[0].tolist()))
    assert classes == {(50, 0), (25, 25), (0, 50)}
    assert len(sets) > 20


def test_more_shards_than_samples_are_refused(tmp_path: Path) -> None:
    split("shards", LABELS[:20], 4, tmp_path, shards_per_client=5)
    with pytest.raises(ConfigError, match="20 samples cannot be cut into 24 shards") as caught:
        split("shards", LABELS[:20], 4, tmp_path, shards_per_client=6)
    assert caught.value.key == "data.partition.shards_per_client"
