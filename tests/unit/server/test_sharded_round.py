"""A round on ranks that have some columns each gives the bits of a round on rank 0: step, records, state."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import build_attack
from fedsim.errors import NonFiniteError
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.records.phases import Phases
from fedsim.server.adversary import Adversary
from fedsim.server.client_momentum import ClientMomentum
from fedsim.server.nonfinite import NonFinitePolicy
from fedsim.server.round import ServerOutcome, WorkingRound
from fedsim.server.server import Server
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.columns import ALONE, Exchange
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_columns import RowColumns
from support.aggregation import assert_same
from support.column_ranks import on_column_ranks, shrink_blocks
from support.states import through_json

CLIENTS, ATTACKERS = 8, (6, 7)
WEIGHT, BIAS, BUFFERS = 60, 15, 9
PARAMETERS = WEIGHT + BIAS
BLOCK = 16
"""Columns: the parameters are 5 blocks, the last one 11 wide, so that some of 8 ranks have none."""
VARIANCES = torch.arange(BUFFERS) % 3 == 1
ROUNDS = 5
ALL_NAN = 3
"""The round in which every row is."""


class Overflowing(Aggregator):
    """A mean with a count of its rounds, of which one coordinate is infinite in the third."""

    name = "overflowing"
    shardable = True

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        self.rounds += 1
        step = updates.mean()
        if context.round == 2 and updates.first_column <= 20 < updates.first_column + updates.local_columns:
            step[20 - updates.first_column] = torch.inf
        return step

    def state_dict(self) -> dict[str, Any]:
        return {"rounds": self.rounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rounds = state["rounds"]


@dataclass(frozen=True)
class Case:
    """Settings of a server, and whether rows come as in shared memory, whole, or cut as those that are sent."""

    aggregator: Aggregator
    attack: tuple[str, dict[str, Any]] = ("ipm", {})
    pre: Sequence[str] = ()
    policy: NonFinitePolicy = "drop"
    in_row: bool = False
    momentum: float = 0.0
    optimizer: dict[str, Any] = field(default_factory=lambda: {"name": "sgd", "lr": 0.7})
    wire: torch.dtype = torch.float32
    rows_are_shared: bool = False

    def server_round(self, exchange: Exchange | None) -> WorkingRound:
        columns = RowColumns(PARAMETERS, BUFFERS, self.in_row)
        if exchange is not None:
            columns = RowColumns.distributed(
                PARAMETERS, BUFFERS, exchange, in_row=self.in_row, rows=CLIENTS, device=torch.device("cpu")
            )
        optimizer = dict(self.optimizer)
        server = Server(
            Defence(copy.deepcopy(self.aggregator), [pre_aggregators.build(name) for name in self.pre]),
            None if self.in_row else build_aggregator("cwmed"),
            optimizer_maker(optimizer.pop("name"), optimizer, "server.optimizer"),
            self.policy,
            PARAMETERS,
            VARIANCES,
            columns=columns,
        )
        attack = build_attack(self.attack[0], **self.attack[1])
        campaign = Campaign(name=attack.name, clients=ATTACKERS, trains=attack.trains)
        plan = AttackPlan([campaign], num_clients=CLIENTS, rounds=ROUNDS, seed=0)
        return WorkingRound(
            Adversary(plan, [attack], seed=3, wire_dtype=self.wire),
            server,
            RowLayout({"weight": (WEIGHT // 2, 2), "bias": (BIAS,)}),
            seed=4,
            phases=Phases(),
            sample_counts=range(10, 10 + CLIENTS),
            momentum=ClientMomentum(self.momentum, self.wire),
        )


CASES = {
    "fedseca, momentum and adam": Case(
        build_aggregator("fedseca", momentum=0.5), ("fang", {}), momentum=0.5, optimizer={"name": "adam", "lr": 0.1}
    ),
    "krum against a probing attack": Case(build_aggregator("krum"), ("agr_tailored", {}), pre=["nnm"], in_row=True),
    "worst of attacks with state": Case(
        build_aggregator("cwtm"), ("worst_of", {"members": ["ipm", "mimic", "poisonedfl"]}), pre=["bucketing"]
    ),
    "fldetector": Case(build_aggregator("fldetector", window=1), ("mimic", {"warmup_rounds": 2}), policy="zero"),
    "fldetector, buffers in the row": Case(
        build_aggregator("fldetector", window=1), ("scaling", {}), in_row=True, rows_are_shared=True
    ),
    "an attack that remembers": Case(
        build_aggregator("centered_clipping"), ("poisonedfl", {"period": 2}), pre=["clipping"], rows_are_shared=True
    ),
    "rows of bfloat16": Case(
        build_aggregator("signguard"), ("gaussian", {"std": 2.0}), momentum=0.9, wire=torch.bfloat16
    ),
    "layers that ranks share": Case(
        build_aggregator("lasa"), ("nonfinite", {"share": 0.1}), policy="zero", in_row=True, rows_are_shared=True
    ),
    "reputations": Case(build_aggregator("rffl"), ("min_max", {}), optimizer={"name": "fedyogi", "lr": 0.1}),
    "an aggregate that overflows": Case(Overflowing(), ("sign_flip", {}), in_row=True),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_blocks(monkeypatch, BLOCK)


def rows_of(round_index: int, wire: torch.dtype = torch.float32) -> Tensor:
    """Rows [K, D + D_b] of a round; client 2 sends a NaN in the second, everyone in one of them."""
    generator = torch.Generator().manual_seed(round_index)
    rows = torch.randn(CLIENTS, PARAMETERS + BUFFERS, generator=generator) * 0.2 + torch.linspace(-1, 1, 84)
    if round_index == 1:
        rows[2, 40] = torch.nan  # which not every rank sees
        rows[4, -1] = torch.inf  # in a buffer, which only rank 0 sees where buffers travel beside the row
    if round_index == ALL_NAN:
        rows[:, 70] = torch.nan
    return rows.to(wire).float()


@dataclass
class Played:
    """Rounds that were played: the states of the model after them, what is recorded, the server's last state."""

    models: list[Tensor]
    records: list[ServerOutcome]
    state: dict[str, Any]


def play(
    case: Case, exchange: Exchange | None, rounds: Sequence[int] = range(ROUNDS), start: Played | None = None
) -> Played:
    """Rounds on one of the ranks, each of which gets the whole step in the end."""
    server_round = case.server_round(exchange)
    model = torch.linspace(0.5, 2, PARAMETERS + BUFFERS) if start is None else start.models[-1].clone()
    if start is not None:
        server_round.load_state_dict(through_json(copy.deepcopy(start.state)))
    models, records = [], []
    for round_index in rounds:
        rows = rows_of(round_index, case.wire)
        if not case.rows_are_shared:
            rows = torch.cat([rows[:, a:b] for a, b in own_ranges(server_round, exchange)], dim=1)
        outcome = server_round.aggregate(rows, model, round_index, range(CLIENTS))
        model = model - completed(outcome.step, server_round, exchange)
        models.append(model)
        records.append(outcome)
    return Played(models, records, server_round.state_dict())


def own_ranges(server_round: WorkingRound, exchange: Exchange | None) -> Sequence[tuple[int, int]]:
    return server_round.ranges[0 if exchange is None else exchange.rank]


def completed(step: Tensor, server_round: WorkingRound, exchange: Exchange | None) -> Tensor:
    parts = (exchange or ALONE).gather(step)
    whole = torch.full_like(step, torch.nan)
    for part, ranges in zip(parts, server_round.ranges, strict=True):
        for start, stop in ranges:
            whole[start:stop] = part[start:stop]
    return whole


def assert_equal(found: Sequence[Played], expected: Played) -> None:
    """Every rank has the same model and the same records, and rank 0 the state of all columns."""
    for of_rank in found:
        assert_same(of_rank.models, expected.models)
        for record, other in zip(of_rank.records, expected.records, strict=True):
            assert_same({**vars(record), "step": None}, {**vars(other), "step": None})
    assert_same(found[0].state, expected.state)


@every_case
@pytest.mark.parametrize("ranks", [2, 8])
def test_any_number_of_ranks_gives_the_same_bits(case: Case, ranks: int) -> None:
    whole = play(case, None)
    assert set(whole.records[ALL_NAN].nonfinite_clients) >= set(range(CLIENTS)) - set(ATTACKERS)
    assert not torch.equal(whole.models[-1], whole.models[ALL_NAN])
    assert_equal(on_column_ranks(ranks, lambda exchange: play(case, exchange)), whole)


@every_case
def test_a_run_goes_on_on_other_numbers_of_ranks(case: Case) -> None:
    expected, played = play(case, None), None
    for ranks, rounds in ((None, [0]), (3, [1, 2]), (2, [3]), (None, [4])):
        found = after_others(case, ranks, rounds, played)
        played = found[0]
        of_rounds = slice(rounds[0], rounds[-1] + 1)
        assert_equal(found, Played(expected.models[of_rounds], expected.records[of_rounds], played.state))
    assert_same(found[0].state, expected.state)


def after_others(case: Case, ranks: int | None, rounds: Sequence[int], start: Played | None) -> list[Played]:
    if ranks is None:
        return [play(case, None, rounds, start)]
    return on_column_ranks(ranks, lambda exchange: play(case, exchange, rounds, start))


def test_the_policy_error_stops_every_rank_alike() -> None:
    case = Case(build_aggregator("fedavg"), policy="error")

    def said(exchange: Exchange | None) -> str:
        with pytest.raises(NonFiniteError) as caught:
            play(case, exchange, range(2))
        return str(caught.value)

    assert set(on_column_ranks(3, said)) == {said(None)}
    assert "[2, 4]" in said(None)
