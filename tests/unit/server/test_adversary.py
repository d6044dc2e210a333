"""The adversary: what each attack is shown, and whose rows it replaces."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.attacks import Attack, AttackView, attacks, build_attack
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.records.phases import Phases
from fedsim.records.round_record import AttackRecord
from fedsim.server.adversary import Adversary, Target
from fedsim.server.round import WorkingRound
from fedsim.server.server import Server
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from support.attack_views import lone_adversary


def test_the_adversary_replaces_exactly_the_byzantine_rows_and_buffers() -> None:
    rows, buffers = torch.tensor([[1.0], [9.0], [3.0], [9.0]]), torch.tensor([[4.0], [0.0], [6.0], [0.0]])
    context = RoundContext(client_ids=(1, 5, 6, 7))
    lone_adversary([7, 5], build_attack("ipm", epsilon=2.0)).replace_rows(
        Target(rows, None, context), Target(buffers, None, context)
    )
    assert rows.flatten().tolist() == [1.0, -4.0, 3.0, -4.0]
    assert buffers.flatten().tolist() == [4.0, -10.0, 6.0, -10.0]


def test_rounds_with_only_byzantine_clients_have_zero_rows() -> None:
    rows = torch.full((2, 3), 9.0)
    lone_adversary([0, 1], build_attack("fang")).replace_rows(Target(rows, None, RoundContext.of(2)))
    assert not rows.any()


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


def a_target(round_index: int = 0, ids: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Target:
    rows = torch.arange(float(len(ids)))[:, None].repeat(1, 2)
    context = RoundContext(round=round_index, client_ids=ids, generator=torch.Generator().manual_seed(3))
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
    for round_index, ids, expected in ((0, (0, 4), [0.0, 1.0]), (1, (0, 2), [0.0, 1.0]), (2, (0, 4), [0.0, -1.0])):
        target = a_target(round_index, ids)
        subject.replace_rows(target)
        assert target.rows[:, 0].tolist() == expected
    assert attack.observed == [0, 1, 2]


def test_the_records_name_the_attackers_and_their_attacks() -> None:
    alie, again = build_attack("alie", z=0.5), build_attack("alie", z=2.0)
    subject = adversary([Campaign(name="alie", clients=(1,)), Campaign(name="alie_2", clients=(4,))], [alie, again])
    target = a_target(ids=(0, 1, 3, 4))
    subject.replace_rows(target)
    assert subject.record(target.context) == AttackRecord(
        share=0.5,
        attackers={1: "alie", 4: "alie_2"},
        parameters={"alie": {"z": 0.5}, "alie_2": {"z": 2.0}},
    )


def test_the_attackers_randomness_is_its_own_and_follows_the_seed() -> None:
    class Noise(Recorder):
        def craft(self, view: AttackView) -> Tensor:
            return torch.randn(view.own.num_columns, generator=view.facts.randomness())

    def sent(seed: int, round_index: int) -> list[float]:
        target = a_target(round_index)
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

    parent: Any = attacks.get("ipm")

    class Spy(parent):
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
    server_round = WorkingRound(subject, server, RowLayout({"weight": (2,)}), seed=0, phases=Phases())
    rows = torch.tensor([[1.0, 2.0, 10.0], [3.0, 2.0, 30.0], [0.0, 0.0, 0.0]])
    for round_index in range(2):
        outcome = server_round.aggregate(rows.clone(), torch.zeros(3), round_index, (0, 1, 2))
        assert outcome.step.tolist() == pytest.approx([2 / 3, 2 / 3, 20 / 3])
    assert steps == ([None, None, (2,), (1,)] if apart else [None, (3,)])


def test_a_round_with_a_byzantine_majority_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(
        Defence(build_aggregator("fedavg")),
        None,
        optimizer_maker("sgd", {"lr": 1.0}, "x"),
        "drop",
        2,
        torch.zeros(0, dtype=torch.bool),
    )
    subject = adversary([Campaign(name="ipm", clients=(3, 4))], [build_attack("ipm")])
    server_round = WorkingRound(subject, server, RowLayout({"weight": (2,)}), seed=0, phases=Phases())
    for round_index, ids in enumerate([(0, 1, 2, 3, 4), (0, 3, 4), (1, 3, 4)]):
        server_round.aggregate(torch.ones(len(ids), 2), torch.zeros(2), round_index, ids)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "round 2: 2 of the 3 participants are Byzantine"
    ]
