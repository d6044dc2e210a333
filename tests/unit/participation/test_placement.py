"""Clients and the ranks that train them."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim.data.partitioners import partitioners
from fedsim.participation.placement import place_clients


def loads(placement: tuple[int, ...], work: list[int], ranks: int) -> list[int]:
    return [sum(work[client] for client, host in enumerate(placement) if host == rank) for rank in range(ranks)]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=7), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_the_slowest_rank_is_as_near_to_the_best_as_the_theorem_says(work: list[int], ranks: int) -> None:
    slowest = max(loads(place_clients(work, ranks), work, ranks))
    best = min(max(loads(every, work, ranks)) for every in product(range(ranks), repeat=len(work)))
    assert best <= slowest
    assert 3 * ranks * slowest <= (4 * ranks - 1) * best


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(1, 40))
def test_every_client_has_a_rank_and_its_own_where_there_are_enough(work: list[int], ranks: int) -> None:
    placement = place_clients(work, ranks)
    assert placement == place_clients(list(work), ranks)
    assert len(placement) == len(work)
    assert set(placement) <= set(range(ranks))
    if len(work) <= ranks:
        assert placement == tuple(range(len(work)))


def in_order_of_ids(work: list[int], ranks: int) -> tuple[int, ...]:
    """As clients were placed before: one after another, whatever their work."""
    return tuple(client % ranks for client in range(len(work)))


@pytest.mark.parametrize(
    ("partitioner", "setting", "samples", "clients"),
    [
        ("dirichlet", {"alpha": 1.0}, 4_000, 8),
        ("dirichlet", {"alpha": 1.0}, 50_000, 5),
        ("dirichlet", {"alpha": 0.1}, 4_000, 40),
        ("class_separated", {"spread": 0.2}, 21_600, 7),
    ],
)
def test_no_rank_waits_longer_than_with_clients_in_the_order_of_their_ids(
    partitioner: str, setting: dict[str, float], samples: int, clients: int
) -> None:
    labels, before, now = torch.arange(samples) % 10, [], []
    for seed, ranks in product(range(10), (2, 3, 4)):
        generator = torch.Generator().manual_seed(seed)
        parts = partitioners.build(partitioner, **setting).partition(labels, clients, generator, {})
        work = [len(part) // 32 + 1 for part in parts]
        before.append(max(loads(in_order_of_ids(work, ranks), work, ranks)))
        now.append(max(loads(place_clients(work, ranks), work, ranks)))
    assert all(slowest <= slowest_before for slowest, slowest_before in zip(now, before, strict=True))
    assert sum(now) < 0.97 * sum(before)


def test_the_centres_of_fed_isic_wait_only_for_the_largest() -> None:
    images = [9930, 3163, 2691, 1807, 655, 351]
    for ranks in (2, 3):
        assert max(loads(place_clients(images, ranks), images, ranks)) == max(9930, -(-sum(images) // ranks))


def test_clients_without_work_are_dealt_out() -> None:
    placement = place_clients([9, 0, 0, 1, 0, 0, 0, 0], ranks=2)
    assert sorted(placement[client] for client in (1, 2, 4, 5, 6, 7)) == [0, 0, 0, 1, 1, 1]
