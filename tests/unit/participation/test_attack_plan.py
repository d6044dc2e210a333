"""Who attacks when: mixtures, schedules and changing sets."""

from time import monotonic
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedsim.build.attack_plan import plan_attacks
from fedsim.build.components import build_components
from fedsim.build.without_effect import warn_of_settings_without_effect
from fedsim.config.run import parse_config
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.participation.participants import Participation


def plan(attack: Any, count: int = 8, rounds: int = 12, seed: int = 0) -> AttackPlan:
    values = {"attack": attack, "clients": {"count": count}, "rounds": rounds, "seed": seed}
    return plan_attacks(parse_config(values))


def test_one_attack_is_a_list_of_one() -> None:
    alone, listed = plan({"name": "ipm", "num_byzantine": 3}), plan([{"name": "ipm", "num_byzantine": 3}])
    assert alone.attackers(0) == listed.attackers(0) == {5: 0, 6: 0, 7: 0}
    assert alone.campaigns == listed.campaigns


def test_a_mixture_gives_each_client_its_attack() -> None:
    mixed = plan([{"name": "alie", "clients": [6, 5]}, {"name": "label_flip", "num_byzantine": 1}])
    assert mixed.attackers(3) == {5: 0, 6: 0, 7: 1}
    assert [mixed.label(position) for position in (0, 1)] == ["alie", "label_flip"]


def test_counted_clients_are_the_last_that_no_other_attack_of_the_same_rounds_has() -> None:
    assert plan([{"name": "ipm", "num_byzantine": 2}, {"name": "alie", "clients": [7]}]).attackers(0) == {
        5: 0,
        6: 0,
        7: 1,
    }
    one_after_the_other = plan(
        [{"name": "ipm", "num_byzantine": 3, "last_round": 4}, {"name": "alie", "num_byzantine": 3, "first_round": 5}]
    )
    assert one_after_the_other.attackers(3) == {5: 0, 6: 0, 7: 0}
    assert one_after_the_other.attackers(4) == {5: 1, 6: 1, 7: 1}


def test_rounds_are_counted_from_one_and_both_ends_are_in() -> None:
    scheduled = plan({"name": "ipm", "num_byzantine": 2, "first_round": 3, "last_round": 5})
    assert [bool(scheduled.attackers(round_index)) for round_index in range(7)] == [
        False,
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    assert scheduled.ever == (6, 7)
    assert scheduled.always_idle == frozenset()  # before and after they train


def test_a_share_of_the_clients_is_rounded_down() -> None:
    assert len(plan({"name": "ipm", "byzantine_fraction": 0.3}, count=10).attackers(0)) == 3
    assert len(plan({"name": "ipm", "byzantine_fraction": 0.3}, count=9).attackers(0)) == 2
    assert len(plan({"name": "ipm", "byzantine_fraction": 0.29}, count=100).attackers(0)) == 29


def test_a_changing_set_is_redrawn_every_so_many_rounds_by_the_seed() -> None:
    values = {"name": "ipm", "num_byzantine": 3, "redraw_every": 2, "first_round": 2}
    changing = plan(values, rounds=60)
    sets = [frozenset(changing.attackers(round_index)) for round_index in range(60)]
    assert sets[0] == frozenset()
    assert all(len(members) == 3 for members in sets[1:])
    assert all(sets[start] == sets[start + 1] for start in range(1, 59, 2))
    assert len(set(sets)) > 10
    assert changing.ever == tuple(range(8))
    assert sets == [frozenset(plan(values, rounds=60).attackers(round_index)) for round_index in range(60)]
    assert sets != [frozenset(plan(values, rounds=60, seed=1).attackers(round_index)) for round_index in range(60)]


def test_drawn_clients_leave_those_of_other_attacks_alone() -> None:
    mixed = plan([{"name": "alie", "clients": [0]}, {"name": "ipm", "num_byzantine": 2, "redraw_every": 1}])
    for round_index in range(12):
        under = mixed.attackers(round_index)
        assert under[0] == 0
        assert sorted(under.values()) == [0, 1, 1]


def test_what_a_round_does_does_not_depend_on_how_long_the_run_is() -> None:
    values = {"name": "ipm", "num_byzantine": 3, "redraw_every": 2}
    assert plan(values, rounds=3).attackers(2) == plan(values, rounds=50).attackers(2)


@pytest.mark.parametrize(
    ("attack", "key", "words"),
    [
        ([{"name": "ipm", "num_byzantine": 1}, {"name": "alie", "z": 1}], "attack.1.num_byzantine", "missing"),
        ([{"name": "ipm", "clients": [1, 2]}, {"name": "alie", "clients": [2]}], "attack.1.clients", r"\[2\]"),
        ([{"name": "ipm", "num_byzantine": 2}] * 2, "attack.0.num_byzantine", "4 Byzantine of 8.* in round 1"),
        (
            [{"name": "ipm", "num_byzantine": 3}, {"name": "alie", "num_byzantine": 2, "first_round": 7}],
            "attack.0.num_byzantine",
            "in round 7",
        ),
        ({"name": "ipm", "num_byzantine": 1, "first_round": 3, "last_round": 2}, "attack.last_round", "before"),
        ({"name": "ipm", "clients": [1], "redraw_every": 2}, "attack.redraw_every", "clients"),
        ({"name": "ipm", "byzantine_fraction": 0.3, "clients": [1]}, "attack.clients", "contradicts"),
        ({"name": "ipm", "byzantine_fraction": 0.1}, "attack.byzantine_fraction", "no client"),
        ({"name": "ipm", "byzantine_fraction": 1.5}, "attack.byzantine_fraction", "1.5"),
        ({"name": "ipm", "first_round": 0, "num_byzantine": 1}, "attack.first_round", "0"),
        ("ipm", "attack", "section of keys"),
        ([3], "attack.0", "section of keys"),
    ],
)
def test_what_does_not_fit_is_named(attack: Any, key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        plan(attack)
    assert caught.value.key == key


def test_a_majority_may_be_allowed() -> None:
    allowed = {"name": "ipm", "num_byzantine": 5, "allow_byzantine_majority": True}
    assert len(plan(allowed).attackers(0)) == 5


def test_an_attack_that_comes_after_the_last_round_is_warned_of() -> None:
    values = {"attack": {"name": "ipm", "num_byzantine": 2, "first_round": 6}, "rounds": 5}
    with pytest.warns(FedsimWarning, match=r"attack\.first_round: 6 is after the last round, 5"):
        warn_of_settings_without_effect(build_components(parse_config(values)), values)


def in_every_round(of: AttackPlan, rounds: int) -> tuple[object, ...]:
    """What a plan says of the whole run, by walking through it."""
    attackers = [of.attackers(round_index) for round_index in range(rounds)]
    idle = frozenset(range(of.num_clients)).intersection(*(of.idle(round_index) for round_index in range(rounds)))
    most = max((len(clients), -round_index) for round_index, clients in enumerate(attackers))
    return tuple(sorted({client for clients in attackers for client in clients})), idle, most


@given(
    st.lists(
        st.builds(
            lambda clients, count, first, length, every, trains: Campaign(
                name="any",
                clients=None if clients is None else tuple(sorted(clients)),
                count=count,
                first_round=first,
                last_round=None if length is None else first + length,
                redraw_every=every,
                trains=trains,
            ),
            st.none() | st.sets(st.integers(0, 4)),
            st.integers(0, 5),
            st.integers(0, 9),
            st.none() | st.integers(0, 9),
            st.integers(1, 4),
            st.booleans(),
        ),
        max_size=3,
    ),
    st.integers(1, 20),
)
@settings(max_examples=60, deadline=None)
def test_a_plan_knows_what_a_walk_through_all_rounds_finds(campaigns: list[Campaign], rounds: int) -> None:
    of = AttackPlan(campaigns, num_clients=5, rounds=rounds, seed=3)
    assert (of.ever, of.always_idle, of.most) == in_every_round(of, rounds)


@pytest.mark.parametrize(
    "attack",
    [
        {"name": "ipm", "num_byzantine": 2, "first_round": 900_000_000},
        {"name": "ipm", "num_byzantine": 2, "redraw_every": 1},
        [
            {"name": "ipm", "num_byzantine": 1, "redraw_every": 2, "first_round": 7},
            {"name": "alie", "num_byzantine": 1, "redraw_every": 3, "last_round": 999_999},
        ],
    ],
)
def test_a_billion_rounds_take_no_time(attack: Any) -> None:
    started = monotonic()
    of = plan(attack, rounds=10**9)
    assert of.most[0] == 2
    assert len(of.ever) in (2, 8)
    assert of.always_idle == frozenset()
    taking_part = Participation(seed=0, num_clients=8, per_round=2, attack_plan=of, placement=(0,) * 8)
    assert taking_part.attackers_take_part()
    assert monotonic() - started < 20


def test_where_too_many_draws_decide_the_largest_possible_number_counts() -> None:
    drawn = {"name": "ipm", "num_byzantine": 400, "redraw_every": 1, "allow_byzantine_majority": True}
    mixed = [drawn, {"name": "alie", "clients": list(range(400))}]
    assert plan(mixed, count=1000, rounds=10**9).most == (800, 0)
