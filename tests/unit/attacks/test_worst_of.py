"""The worst of several attacks."""

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, aggregators, build_aggregator
from fedsim.attacks import Attack, AttackView, attacks, available_attacks, build_attack
from fedsim.errors import ConfigError
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from support.attack_views import COLUMNS, full_context, real_deviation, view_against
from support.references import random_rows


@pytest.mark.parametrize("defence", ["cwmed", "krum", "fedavg", "fedseca", "rfa"])
def test_worst_of_sends_what_moves_the_aggregate_farthest(defence: str) -> None:
    members: list[Any] = [
        "alie",
        {"name": "ipm", "epsilon": 0.2},
        {"name": "fang", "strength": 0.3},
        "min_max",
        "opt_ipm",
    ]
    for seed in range(3):
        honest, aggregator = random_rows(6, COLUMNS, seed=seed, shift=0.2 * seed), build_aggregator(defence)
        view, deviations = view_against(honest, 2, aggregator, context=full_context(8)), []
        for member in members:
            settings: dict[str, Any] = {"name": member} if isinstance(member, str) else dict(member)
            rows = build_attack(settings.pop("name"), **settings)(view)
            deviations.append(real_deviation(aggregator, honest, rows, full_context(8)))
        attack = build_attack("worst_of", members=members)
        sent = attack(view)
        assert attack.diagnostics["member"] == float(np.argmax(deviations))
        assert attack.diagnostics["deviation"] == pytest.approx(max(deviations), rel=1e-6)
        assert real_deviation(aggregator, honest, sent, full_context(8)) == pytest.approx(max(deviations), rel=1e-6)


def test_the_deviation_of_worst_of_is_its_own_not_that_of_a_member_that_probes() -> None:
    """They are asked with other randomness: the member finds other buckets than worst_of, which asks last."""
    honest, seen = random_rows(6, COLUMNS, shift=0.4), []

    parent: Any = aggregators.get("cc_random_bucketing")

    class Listening(parent):
        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            step = super().aggregate(updates, context)
            seen.append(float((step.double() - honest.double().mean(0)).norm()))
            return step

    attack = build_attack("worst_of", members=["opt_ipm"])
    attack(view_against(honest, 2, Listening(), context=full_context(8)))
    assert attack.diagnostics["deviation"] == pytest.approx(seen[-1], rel=1e-6)
    assert all(seen[-1] != pytest.approx(other, rel=1e-6) for other in seen[:-1])
    assert "epsilon" in attack.diagnostics


def test_worst_of_reports_what_the_chosen_member_says() -> None:
    attack = build_attack("worst_of", members=["ipm", {"name": "alie", "z": 50.0}])
    sent = attack(view_against(random_rows(6, COLUMNS), 2, build_aggregator("fedavg")))
    assert attack.diagnostics["member"] == 1
    assert attack.diagnostics["z"] == 50
    assert torch.equal(sent, build_attack("alie", z=50.0)(view_against(random_rows(6, COLUMNS))))


def test_worst_of_gives_each_member_what_it_declares_and_randomness_of_its_own() -> None:
    rows = random_rows(6, COLUMNS)
    seen: list[AttackView] = []

    class Watcher(Attack):
        name = "watcher"
        draws = 0

        def craft(self, view: AttackView) -> Tensor:
            seen.append(view)
            torch.rand(self.draws, generator=view.facts.randomness())
            return torch.rand(COLUMNS, generator=view.facts.randomness())

    class Trainee(Watcher):
        name, trains, probes, sees_honest = "trainee", True, True, False

    own = random_rows(2, COLUMNS, seed=4)
    drawn = []
    for draws in (0, 5):
        attack: Any = build_attack("worst_of", members=["ipm", "alie"])
        first, second = Watcher(), Trainee()
        first.draws = draws
        attack._members, attack.trains = [first, second], True
        seen.clear()
        attack(
            AttackView(
                honest=UpdateMatrix(rows),
                own=UpdateMatrix(own),
                aggregator=build_aggregator("cwmed"),
                context=full_context(8),
            )
        )
        drawn.append(torch.rand(1, generator=seen[1].facts.randomness()))
        assert not seen[0].own.tensor().any()
        assert seen[0].aggregator is None
        assert torch.equal(seen[1].own.tensor(), own)
        assert seen[1].aggregator is not None
        assert seen[1].num_honest == 0
    assert torch.equal(*drawn)


def test_worst_of_trains_if_a_member_does() -> None:
    assert not build_attack("worst_of").trains
    assert build_attack("worst_of", members=["ipm", "scaling"]).trains
    assert not build_attack("worst_of").trains


def test_worst_of_keeps_the_states_of_its_members_and_passes_on_what_it_observes() -> None:
    observed: list[tuple[int, float]] = []

    class Counting(Attack):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def craft(self, view: AttackView) -> Tensor:
            self.count += 1
            return view.honest.mean() * self.count

        def observe(self, context: RoundContext) -> None:
            observed.append((context.round, float(torch.rand(1, generator=context.randomness()))))

        def check(self, num_rows: int, num_byzantine: int) -> None:
            raise ConfigError("depth", f"{num_rows} {num_byzantine}")

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.count = state["count"]

    attack: Any = build_attack("worst_of", members=["ipm", "alie"])
    attack._members = [build_attack("ipm"), Counting()]
    attack(view_against(random_rows(6, COLUMNS), 2, build_aggregator("cwmed")))
    assert attack.state_dict() == {"members": [{}, {"count": 1}]}
    twin = copy.deepcopy(attack)
    twin.load_state_dict({"members": [{}, {"count": 7}]})
    assert twin.state_dict() == {"members": [{}, {"count": 7}]}
    buffers = attack.for_buffers()
    buffers.load_state_dict({"members": [{}, {"count": 9}]})
    assert attack.state_dict() == {"members": [{}, {"count": 1}]}
    attack.observe(full_context(8, round_index=3))
    assert [round_index for round_index, _ in observed] == [3]
    with pytest.raises(ConfigError) as caught:
        attack.check(8, 2)
    assert (caught.value.key, caught.value.problem) == ("members.1.depth", "8 2")


def test_a_member_that_breaks_the_step_counts_as_a_step_of_zero() -> None:
    """NaN must not win by comparing false: the server then takes no step, which leaves it ||mu|| from mu."""

    class Overflowing(Aggregator):
        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            step = updates.mean()
            return step * math.nan if bool((updates.tensor() > 1e3).any()) else step

    honest = random_rows(6, COLUMNS, shift=1.0)
    length = float(honest.double().mean(0).norm())
    breaking = {"name": "ipm", "epsilon": -1e9}
    for members, member, deviation in [
        ([breaking, {"name": "ipm", "epsilon": 9.0}], 1, 2.5 * length),  # (6 - 2 * 9) / 8 - 1
        ([breaking, {"name": "ipm", "epsilon": 1.0}], 0, length),
    ]:
        attack = build_attack("worst_of", members=members)
        attack(view_against(honest, 2, Overflowing()))
        assert attack.diagnostics["member"] == member
        assert attack.diagnostics["deviation"] == pytest.approx(deviation, rel=1e-5)


@pytest.mark.parametrize(
    ("members", "key"),
    [
        (["alie", "impostor"], "members.1.name"),
        (["alie", {"name": "impostor"}], "members.1.name"),
        (["alie", {"name": "alie", "zed": 1.0}], "members.1.zed"),
        (["alie", {"name": "alie", "z": "automatic"}], "members.1.z"),
        ([{"z": 1.0}], "members.0.name"),
        ([{"name": 3}], "members.0.name"),
        (["worst_of"], "members.0.name"),
        (["ipm", {"name": "label_flip"}], "members.1.name"),
        ([], "members"),
        ("alie", "members"),
        ([3], "members.0"),
    ],
)
def test_impossible_members_are_named_by_their_position(members: object, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_attack("worst_of", members=members)
    assert caught.value.key == key


def test_what_poisons_data_cannot_be_a_member() -> None:
    for name in available_attacks():
        if attacks.get(name).poisons_data:
            with pytest.raises(ConfigError, match="training of its own"):
                build_attack("worst_of", members=[name])


def test_worst_of_is_shardable_if_all_its_members_are(monkeypatch: pytest.MonkeyPatch) -> None:
    attack = build_attack("worst_of", members=["mimic", {"name": "ipm", "epsilon": 0.2}])
    assert attack.shardable
    assert attack.for_buffers().shardable
    monkeypatch.setattr(attacks.get("ipm"), "shardable", False)
    assert not attack.shardable
    assert not attack.for_buffers().shardable
