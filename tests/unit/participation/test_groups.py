"""Groups of clients that are trained at once: the same on any number of ranks."""

import pytest

from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.participation.groups import ClientGroups
from fedsim.participation.participants import Participation
from fedsim.participation.placement import place_clients

K, ROUNDS = 11, 4
STEPS = [3, 0, 7, 7, 1, 2, 9, 3, 3, 5, 0]


def participation(ranks: int, size: int, per_round: int = 9) -> Participation:
    plan = AttackPlan([Campaign(name="a", clients=(2, 5), first_round=2)], num_clients=K, rounds=ROUNDS, seed=0)
    return Participation(
        seed=4,
        num_clients=K,
        per_round=per_round,
        attack_plan=plan,
        placement=place_clients(STEPS, ranks),
        groups=None if size == 1 else ClientGroups(size=size, steps=STEPS, ranks=ranks),
    )


@pytest.mark.parametrize("size", [1, 2, 4, 100])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_every_client_that_trains_does_so_once_where_it_is_hosted(size: int, ranks: int) -> None:
    given = participation(ranks, size)
    for round_index in range(ROUNDS):
        hosts, trained = given.hosts(round_index), []
        for rank in range(ranks):
            for group in given.trained_on(rank, round_index):
                assert {hosts[client] for client in group} == {rank}
                assert len(group) <= size
                trained += group
            assert set(given.clients_on(rank, round_index)) >= {one for one in trained if hosts[one] == rank}
        assert sorted(trained) == given.training(round_index)
        assert len(hosts) == K
        assert set(hosts) <= set(range(ranks))


@pytest.mark.parametrize("size", [2, 3, 4])
def test_groups_are_the_same_on_any_number_of_ranks(size: int) -> None:
    for round_index in range(ROUNDS):
        one, *others = (
            sorted(
                group for rank in range(ranks) for group in participation(ranks, size).trained_on(rank, round_index)
            )
            for ranks in (1, 2, 3, 5, 8)
        )
        assert all(other == one for other in others)


def test_groups_have_clients_with_about_as_many_steps_and_are_as_full_as_can_be() -> None:
    groups = ClientGroups(size=4, steps=STEPS, ranks=2).of(range(K))
    assert [[STEPS[client] for client in group] for group in groups] == [[9, 7, 7, 5], [3, 3, 3, 2], [1, 0, 0]]


def test_ranks_have_about_as_many_groups() -> None:
    given = participation(3, 2)
    counts = [len(given.trained_on(rank, 0)) for rank in range(3)]
    assert max(counts) - min(counts) <= 1
