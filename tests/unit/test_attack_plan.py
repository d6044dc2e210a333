"""Who attacks when: mixtures, schedules and changing sets, in the configuration and in the adversary's hands."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.attacks import Attack, AttackView, build_attack
from fedsim.build.components import warn_of_settings_without_effect
from fedsim.config.run import parse_config
from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.records.phases import Phases
from fedsim.server.adversary import Adversary, Target
from fedsim.server.round import ServerHead
from fedsim.server.server import Server
from fedsim.training.client import LocalWork, Trainer
from fedsim.training.optimizers import optimizer_maker
from fedsim.training.poisoned_labels import PoisonedLabels
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.model_rows import ModelRows


def plan(attack: Any, count: int = 8, rounds: int = 12, seed: int = 0) -> AttackPlan:
    return parse_config({"attack": attack, "clients": {"count": count}, "rounds": rounds, "seed": seed}).attack_plan()


# The configuration ---------------------------------------------------------------------------------


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
    assert [bool(scheduled.attackers(round)) for round in range(7)] == [False, False, True, True, True, False, False]
    assert scheduled.ever == (6, 7)
    assert scheduled.always_idle == frozenset()  # before and after they train


def test_a_share_of_the_clients_is_rounded_down() -> None:
    assert len(plan({"name": "ipm", "byzantine_fraction": 0.3}, count=10).attackers(0)) == 3
    assert len(plan({"name": "ipm", "byzantine_fraction": 0.3}, count=9).attackers(0)) == 2
    assert len(plan({"name": "ipm", "byzantine_fraction": 0.29}, count=100).attackers(0)) == 29


def test_a_changing_set_is_drawn_anew_every_so_many_rounds_by_the_seed() -> None:
    settings = {"name": "ipm", "num_byzantine": 3, "redraw_every": 2, "first_round": 2}
    changing = plan(settings, rounds=60)
    sets = [frozenset(changing.attackers(round)) for round in range(60)]
    assert sets[0] == frozenset()
    assert all(len(members) == 3 for members in sets[1:])
    assert all(sets[start] == sets[start + 1] for start in range(1, 59, 2))
    assert len(set(sets)) > 10
    assert changing.ever == tuple(range(8))
    assert sets == [frozenset(plan(settings, rounds=60).attackers(round)) for round in range(60)]
    assert sets != [frozenset(plan(settings, rounds=60, seed=1).attackers(round)) for round in range(60)]


def test_drawn_clients_leave_those_of_other_attacks_alone() -> None:
    mixed = plan([{"name": "alie", "clients": [0]}, {"name": "ipm", "num_byzantine": 2, "redraw_every": 1}])
    for round in range(12):
        under = mixed.attackers(round)
        assert under[0] == 0
        assert sorted(under.values()) == [0, 1, 1]


def test_what_a_round_does_does_not_depend_on_how_long_the_run_is() -> None:
    settings = {"name": "ipm", "num_byzantine": 3, "redraw_every": 2}
    assert plan(settings, rounds=3).attackers(2) == plan(settings, rounds=50).attackers(2)


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
        warn_of_settings_without_effect(parse_config(values), values)


# The adversary -------------------------------------------------------------------------------------


class Recorder(Attack):
    """Keeps the views it gets and sends a constant."""

    probes = True

    def __init__(self, constant: float, *, trains: bool = False) -> None:
        super().__init__()
        self.constant, self.trains = constant, trains
        self.views: list[AttackView] = []
        self.observed: list[int] = []

    def observe(self, context: RoundContext) -> None:
        self.observed.append(context.round)

    def for_buffers(self) -> Attack:
        return build_attack("zero")

    def craft(self, view: AttackView) -> Tensor:
        held = {name: getattr(view, name) for name in ("honest", "own", "accomplices")}
        copies = {name: None if rows is None else rows.tensor().clone() for name, rows in held.items()}
        self.views.append(replace(view, **copies))  # the adversary overwrites what was there
        return torch.full((view.own.num_columns,), self.constant)


def adversary(campaigns: list[Campaign], attacks: list[Attack], seed: int = 0) -> Adversary:
    return Adversary(AttackPlan(campaigns, num_clients=5, rounds=9, seed=0), attacks, seed=seed)


def a_target(round: int = 0, ids: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Target:
    rows = torch.arange(float(len(ids)))[:, None].repeat(1, 2)
    context = RoundContext(round=round, client_ids=ids, generator=torch.Generator().manual_seed(3))
    return Target(rows, build_aggregator("cwmed"), context)


def test_each_attack_knows_the_rows_of_those_before_it() -> None:
    first, second = Recorder(-1.0), Recorder(-2.0, trains=True)
    campaigns = [Campaign(name="a", clients=(1, 4)), Campaign(name="b", clients=(3,), trains=True)]
    target = a_target()
    adversary(campaigns, [first, second]).replace_rows(target)
    assert target.rows[:, 0].tolist() == [0.0, -1.0, 2.0, -2.0, -1.0]
    assert first.views[0].accomplices is None
    assert first.views[0].honest.tensor()[:, 0].tolist() == [0.0, 2.0]
    view = second.views[0]
    assert view.honest.tensor()[:, 0].tolist() == [0.0, 2.0]
    assert view.own.tensor()[:, 0].tolist() == [3.0]
    assert view.accomplices.tensor()[:, 0].tolist() == [-1.0, -1.0]
    assert view.facts.client_ids == (0, 2, 3, 1, 4)
    assert (view.honest_ids, view.own_ids) == ((0, 2), (3,))


def test_a_probe_in_a_mixture_sees_the_whole_matrix() -> None:
    first, second = Recorder(-1.0), Recorder(-2.0)
    campaigns = [Campaign(name="a", clients=(1, 4)), Campaign(name="b", clients=(3,))]
    adversary(campaigns, [first, second]).replace_rows(a_target())
    assert second.views[0].probe().step(torch.tensor([-9.0, -9.0])).tolist() == [-1.0, -1.0]  # of -9 -1 -1 0 2


def test_before_its_first_round_and_when_absent_nothing_is_replaced_but_the_round_is_observed() -> None:
    attack = Recorder(-1.0)
    subject = adversary([Campaign(name="a", clients=(4,), first_round=1)], [attack])
    for round, ids, expected in ((0, (0, 4), [0.0, 1.0]), (1, (0, 2), [0.0, 1.0]), (2, (0, 4), [0.0, -1.0])):
        target = a_target(round, ids)
        subject.replace_rows(target)
        assert target.rows[:, 0].tolist() == expected
    assert attack.observed == [0, 1, 2]


def test_the_records_tell_who_attacked_by_what() -> None:
    alie, again = build_attack("alie", z=0.5), build_attack("alie", z=2.0)
    subject = adversary([Campaign(name="alie", clients=(1,)), Campaign(name="alie_2", clients=(4,))], [alie, again])
    target = a_target(ids=(0, 1, 3, 4))
    subject.replace_rows(target)
    assert subject.report(target.context) == {
        "share": 0.5,
        "attackers": {1: "alie", 4: "alie_2"},
        "parameters": {"alie": {"z": 0.5}, "alie_2": {"z": 2.0}},
    }


def test_the_attackers_randomness_is_its_own_and_follows_the_seed() -> None:
    class Noise(Recorder):
        def craft(self, view: AttackView) -> Tensor:
            return torch.randn(view.own.num_columns, generator=view.facts.randomness())

    def sent(seed: int, round: int) -> list[float]:
        target = a_target(round)
        before = target.context.generator.get_state()
        adversary([Campaign(name="a", clients=(4,))], [Noise(0.0)], seed).replace_rows(target)
        assert torch.equal(target.context.generator.get_state(), before)
        return target.rows[4].tolist()

    assert sent(0, 0) == sent(0, 0)
    assert sent(0, 0) != sent(0, 1)
    assert sent(0, 0) != sent(1, 0)


def test_state_of_every_attack_survives() -> None:
    def build() -> Adversary:
        campaigns = [Campaign(name="mimic", clients=(3,)), Campaign(name="mimic_2", clients=(4,))]
        return adversary(campaigns, [build_attack("mimic"), build_attack("mimic", warmup_rounds=1)])

    first, second = build(), build()
    first.replace_rows(a_target(0))
    second.load_state_dict(first.state_dict())
    one, other = a_target(1), a_target(1)
    first.replace_rows(one)
    second.replace_rows(other)
    assert torch.equal(one.rows, other.rows)


# In a round ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffers", ["by themselves", "in the row"])
def test_buffers_are_attacked_by_themselves_or_in_the_row(buffers: str) -> None:
    """IPM: minus the honest mean, of whatever the matrix is; the last step has as many coordinates as the rows."""
    apart = buffers == "by themselves"
    steps: list[tuple[int, ...] | None] = []

    class Spy(type(build_attack("ipm"))):
        def craft(self, view: AttackView) -> Tensor:
            step = view.facts.last_step
            steps.append(None if step is None else tuple(step.shape))
            return super().craft(view)

    attack = Spy(epsilon=1.0)
    server = Server(
        Defence(build_aggregator("fedavg")),
        build_aggregator("fedavg") if apart else None,
        optimizer_maker("sgd", {"lr": 1.0}, "x"),
        "drop",
        2,
        torch.tensor([False]),
    )
    subject = adversary([Campaign(name="ipm", clients=(2,))], [attack])
    head = ServerHead(subject, server, RowLayout({"weight": (2,)}), seed=0, phases=Phases())
    rows = torch.tensor([[1.0, 2.0, 10.0], [3.0, 2.0, 30.0], [0.0, 0.0, 0.0]])
    for round in range(2):
        outcome = head.decide(rows.clone(), torch.zeros(3), round, (0, 1, 2))
        assert outcome.step.tolist() == pytest.approx([2 / 3, 2 / 3, 20 / 3])
    assert steps == ([None, None, (2,), (1,)] if apart else [None, (3,)])


def test_a_round_with_a_byzantine_majority_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(
        Defence(build_aggregator("fedavg")),
        None,
        optimizer_maker("sgd", {"lr": 1.0}, "x"),
        "drop",
        2,
        torch.zeros(0, dtype=torch.bool),
    )
    subject = adversary([Campaign(name="ipm", clients=(3, 4))], [build_attack("ipm")])
    head = ServerHead(subject, server, RowLayout({"weight": (2,)}), seed=0, phases=Phases())
    for round, ids in enumerate([(0, 1, 2, 3, 4), (0, 3, 4), (1, 3, 4)]):
        head.decide(torch.ones(len(ids), 2), torch.zeros(2), round, ids)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "round 2: 2 of the 3 participants are Byzantine"
    ]


def test_honest_clients_train_as_they_would_without_an_attack_beside_them() -> None:
    """Batches, dropout and labels of the honest are the same bits; only the poisoned clients differ, and in time."""
    generator = torch.Generator().manual_seed(0)
    samples = TensorSamples(torch.randn(40, 3, generator=generator), torch.arange(40) % 4)
    shares = [torch.arange(start, 40, 4) for start in range(4)]
    work = LocalWork(
        epochs=1, steps=None, batch_size=4, send="delta", make_optimizer=optimizer_maker("sgd", {"lr": 0.1}, "x")
    )
    torch.manual_seed(0)
    rows = ModelRows(nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 4)))
    state = torch.cat(rows.read())

    def updates(round: int, *campaigns: Campaign) -> list[Tensor]:
        plan = AttackPlan(campaigns, num_clients=4, rounds=9, seed=0)
        attacks = [build_attack("label_flip", mode="random") for _ in campaigns]
        labels_of = PoisonedLabels(plan, attacks, samples.labels, shares, 4, seed=0)
        trainer = Trainer(rows, Inputs(samples), shares, work, 0, torch.device("cpu"), labels_of)
        outs = [torch.empty_like(state) for _ in shares]
        for client, out in enumerate(outs):
            trainer.update(client, round, state, out)
        return outs

    flip = Campaign(name="label_flip", clients=(1, 3), first_round=2, trains=True)
    for round, changed in ((1, set()), (2, {1, 3})):
        clean, poisoned = updates(round), updates(round, flip)
        assert {client for client in range(4) if not torch.equal(clean[client], poisoned[client])} == changed


def test_random_labels_are_the_same_in_every_round() -> None:
    labels, share = torch.arange(30) % 5, torch.arange(30)
    plan = AttackPlan([Campaign(name="x", clients=(0,), trains=True)], num_clients=1, rounds=3, seed=0)
    poisoned = PoisonedLabels(plan, [build_attack("label_flip", mode="random")], labels, [share], 5, seed=0)
    again = PoisonedLabels(plan, [build_attack("label_flip", mode="random")], labels, [share], 5, seed=0)
    assert torch.equal(poisoned(0, 0), poisoned(0, 2))
    assert torch.equal(poisoned(0, 0), again(0, 1))
    assert not torch.equal(poisoned(0, 0), labels)
