"""Attacks that reckon with distances or try the server's defence out, and the probes that they ask it through."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, aggregators, available_aggregators, build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import Attack, AttackView, attacks, available_attacks, build_attack
from fedsim.attacks.fang import upper_bound
from fedsim.attacks.probe import Line, Probe, Probed, search_largest
from fedsim.errors import ConfigError
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.server.adversary import Adversary, Target
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.random_rows import draw_seed
from fedsim.updates.sharded import ColumnShards
from support.references import direct_squared_distances, krum_choice, random_rows

COLUMNS = 60
DIRECTIONS = ["unit", "sign", "std"]
TAILORED = {"agr_tailored": "min_max", "opt_alie": "alie", "opt_ipm": "ipm"}
"""Each tailored attack with its untailored parent."""


def facts(count: int, columns: int = COLUMNS, round: int = 0, last_step: Tensor | None = None) -> RoundContext:
    """Everything that an aggregator may ask for; ids are not the rows' numbers."""
    return RoundContext(
        round=round,
        client_ids=tuple((5 * row + 3) % 101 for row in range(count)),
        layout=RowLayout({"weight": (columns // 10, 10), "bias": (columns % 10,)}),
        last_step=last_step,
        generator=torch.Generator().manual_seed(round),
        sample_counts=tuple(20 + row for row in range(count)),
    )


def view_of(
    honest: Tensor | UpdateMatrix, byzantine: int = 2, aggregator: Probed | None = None, **more: Any
) -> AttackView:
    own = torch.zeros(byzantine, UpdateMatrix.of(honest).num_columns, dtype=honest.dtype)
    return AttackView(honest=honest, own=own, aggregator=aggregator, **more)


# Min-max and min-sum -------------------------------------------------------------------------------


def literal_direction(rows: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """mu and p, float64."""
    wide = rows.double()
    mean = wide.mean(0)
    deviation = wide.std(0) if len(rows) > 1 else torch.zeros_like(mean)
    return mean, {"unit": -mean / mean.norm(), "sign": -mean.sign(), "std": -deviation}[direction]


def is_hidden(name: str, x: Tensor, rows: Tensor) -> bool:
    """The constraint itself."""
    to_rows, between = (x - rows.double()).square().sum(1), direct_squared_distances(rows)
    if name == "min_max":
        return bool(to_rows.max() <= between.max())
    return bool(to_rows.sum() <= between.sum(1).max())


def bisected_gamma(name: str, rows: Tensor, direction: str) -> float:
    mean, p = literal_direction(rows, direction)
    low, high = 0.0, 1.0
    while is_hidden(name, mean + high * p, rows):
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if is_hidden(name, mean + middle * p, rows) else (low, middle)
    return low


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("honest", "columns"), [(2, 1), (2, 40), (3, 5), (7, 300), (12, 3)])
def test_gamma_is_the_largest_that_the_constraint_allows(
    name: str, direction: str, honest: int, columns: int
) -> None:
    for seed, shift in ((0, 0.3), (1, 5.0)):
        rows = random_rows(honest, columns, seed=seed, shift=shift)
        attack = build_attack(name, direction=direction)
        sent = attack(view_of(rows))
        gamma, (mean, p) = attack.diagnostics["gamma"], literal_direction(rows, direction)
        assert gamma == pytest.approx(bisected_gamma(name, rows, direction), rel=1e-9)
        assert is_hidden(name, mean + gamma * (1 - 1e-9) * p, rows)
        assert not is_hidden(name, mean + gamma * (1 + 1e-6) * p, rows)
        torch.testing.assert_close(sent.double(), (mean + gamma * p).expand(2, -1), rtol=1e-5, atol=1e-5)


def test_min_max_and_min_sum_by_hand() -> None:
    """mu = (2, 0), so a = 4, 1, 5; squared distances 5, 17 and 8; p = (-1, 0), so b = -2, 0, 2."""
    rows = torch.tensor([[0.0, 0.0], [2.0, -1.0], [4.0, 1.0]])
    attack = build_attack("min_max")
    sent = attack(view_of(rows))
    gamma = min(2 + math.sqrt(4 + 17 - 4), math.sqrt(17 - 1), -2 + math.sqrt(4 + 17 - 5))
    assert attack.diagnostics == pytest.approx({"gamma": gamma})
    assert gamma == 2.0
    torch.testing.assert_close(sent, torch.tensor([[0.0, 0.0]]).expand(2, -1), rtol=0, atol=1e-6)
    # sums: 22, 13, 25; sum a = 10, sum b = 0: gamma = sqrt((25 - 10) / 3)
    attack = build_attack("min_sum")
    sent = attack(view_of(rows))
    assert attack.diagnostics == pytest.approx({"gamma": math.sqrt(5)})
    torch.testing.assert_close(sent[0], torch.tensor([2 - math.sqrt(5), 0.0]))


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_perturbations_agree_whole_and_in_three_shards(name: str, direction: str) -> None:
    rows = random_rows(5, 3 * BLOCK + 77)
    whole, cut = build_attack(name, direction=direction), build_attack(name, direction=direction)
    shards = ColumnShards.cut(rows, 3)
    assert len(shards._shards) == 3
    torch.testing.assert_close(whole(view_of(rows)), cut(view_of(shards)), rtol=1e-6, atol=1e-7)
    assert whole.diagnostics["gamma"] == pytest.approx(cut.diagnostics["gamma"], rel=1e-12)
    assert whole.diagnostics["gamma"] == pytest.approx(bisected_gamma(name, rows, direction), rel=1e-9)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_rows_that_differ_in_the_seventh_digit_keep_their_distances(name: str, direction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 1000 + 1e-3 * torch.randn(5, 200, generator=generator)
    attack = build_attack(name, direction=direction)
    attack(view_of(rows))
    assert attack.diagnostics["gamma"] == pytest.approx(bisected_gamma(name, rows, direction), rel=1e-6)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_room_or_direction_the_mean_is_sent(name: str, direction: str, dtype: torch.dtype) -> None:
    row = random_rows(1, 50).to(dtype)
    opposite = torch.cat([row, -row])
    for rows in (row, row.expand(4, -1), torch.zeros(3, 50, dtype=dtype), opposite):
        attack = build_attack(name, direction=direction)
        sent = attack(view_of(rows))
        if rows is not opposite or direction != "std":  # a mean of zero has no direction, but a deviation
            assert attack.diagnostics["gamma"] == pytest.approx(0, abs=1e-7)
            torch.testing.assert_close(sent, rows.mean(0).expand(2, -1), rtol=1e-6, atol=1e-7)


# Tailored to the defence ---------------------------------------------------------------------------


def defences() -> dict[str, Defence]:
    names = ["krum", "multi_krum", "cwtm", "cwmed", "rfa", "centered_clipping", "fedseca"]
    settings: dict[str, dict[str, Any]] = {"fedseca": {"momentum": 0.5}, "centered_clipping": {"radius": 3.0}}
    made = {name: Defence(build_aggregator(name, **settings.get(name, {}))) for name in names}
    nnm = {f"nnm+{name}": Defence(made[name].aggregator, [pre_aggregators.build("nnm")]) for name in names}
    return {**made, **nnm}


def real_deviation(defence: Probed, honest: Tensor, sent: Tensor, context: RoundContext) -> float:
    step = copy.deepcopy(defence)(torch.cat([honest, sent]), context)
    return float((step.double() - honest.double().mean(0)).norm())


@pytest.mark.parametrize("name", TAILORED)
@pytest.mark.parametrize("defence", defences())
def test_tailoring_does_at_least_what_the_parent_does(name: str, defence: str) -> None:
    for seed in (0, 1):
        subject = copy.deepcopy(defences()[defence])
        for round in range(2):
            subject(random_rows(11, COLUMNS, seed=90 + round), facts(11, round=round))
        honest = random_rows(8, COLUMNS, seed=seed, shift=1.0)
        attack, context = build_attack(name), facts(11, round=2)
        tailored = attack(view_of(honest, 3, subject, context=context))
        untailored = build_attack(TAILORED[name])(view_of(honest, 3))
        reached = real_deviation(subject, honest, tailored, context)
        assert reached >= real_deviation(subject, honest, untailored, context) * (1 - 1e-5)
        assert attack.diagnostics["deviation"] == pytest.approx(reached, rel=1e-4)


def test_the_parameter_found_is_the_one_sent() -> None:
    honest, defence = random_rows(8, COLUMNS, shift=1.0), build_aggregator("rfa")
    wide = honest.double()
    for name, expected in {
        "agr_tailored": lambda found: wide.mean(0) * (1 - found["gamma"] / wide.mean(0).norm()),
        "opt_alie": lambda found: wide.mean(0) - found["z"] * wide.std(0),
        "opt_ipm": lambda found: -found["epsilon"] * wide.mean(0),
    }.items():
        attack = build_attack(name)
        sent = attack(view_of(honest, 3, defence))
        torch.testing.assert_close(sent[0].double(), expected(attack.diagnostics), rtol=1e-5, atol=1e-4)
        assert "deviation" in attack.diagnostics


def test_agr_tailored_finds_the_best_multiple_against_a_linear_defence_and_a_clipped_one() -> None:
    """Against the mean the farther the better: 19 probes double 10 up to 10 * (2^18 - 1)."""
    honest = random_rows(6, COLUMNS)
    attack = build_attack("agr_tailored")
    attack(view_of(honest, 2, build_aggregator("fedavg")))
    assert attack.diagnostics["gamma"] == 10.0 * (2**18 - 1)
    assert attack.diagnostics["deviation"] == pytest.approx(attack.diagnostics["gamma"] * 2 / 8, rel=1e-6)


class Spy(Aggregator):
    """The mean, counting how often it is asked. Copies count together."""

    asked: ClassVar[list[Tensor]] = []

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        self.asked.append(updates.row(updates.num_rows - 1).clone())
        return updates.mean()


class RotatingSpy(Spy):
    commutes_with_rotations = True


@pytest.mark.parametrize("spy", [Spy, RotatingSpy])
@pytest.mark.parametrize("name", TAILORED)
def test_there_are_twenty_probes_and_one_is_the_parents(name: str, spy: type[Spy]) -> None:
    honest = random_rows(5, COLUMNS)
    Spy.asked.clear()
    build_attack(name)(view_of(honest, 2, spy()))
    assert len(Spy.asked) == 20
    if spy is Spy:
        parent = build_attack(TAILORED[name])(view_of(honest))[0]
        assert any(torch.allclose(row, parent, rtol=1e-5, atol=1e-5) for row in Spy.asked)
        start = torch.zeros(COLUMNS) if name == "opt_ipm" else honest.mean(0)
        torch.testing.assert_close(Spy.asked[0], start)


# Probes --------------------------------------------------------------------------------------------

every_aggregator = pytest.mark.parametrize("name", list(available_aggregators()))


def same(one: Any, other: Any) -> bool:
    """Whether two states hold the same bits."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def after_two_rounds(name: str, count: int, columns: int) -> tuple[Aggregator, Tensor]:
    aggregator, step = build_aggregator(name), None
    for round in range(2):
        rows = random_rows(count, columns, seed=70 + round, shift=1.0)
        step = aggregator(rows, facts(count, columns, round, step))
    assert step is not None
    return aggregator, step


@every_aggregator
def test_a_thousand_probes_leave_no_trace(name: str) -> None:
    columns, slow = 20, name in {"robust_tailor", "caf", "mda", "signguard"}
    aggregator, last = after_two_rounds(name, 9, columns)
    twin = copy.deepcopy(aggregator)
    honest, own = random_rows(7, columns, shift=1.0), random_rows(2, columns, seed=5)
    view = view_of(honest, 2, aggregator, context=facts(9, columns, 2, last))
    deviation = view.probe().deviation_along(Line(honest.mean(0), own[0]))
    global_state = torch.get_rng_state()
    for count in range(100 if slow else 1000):
        deviation(0.5 * count)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert same(aggregator.state_dict(), twin.state_dict())
    rows = torch.cat([honest, own])
    assert torch.equal(aggregator(rows, facts(9, columns, 2, last)), twin(rows, facts(9, columns, 2, last)))
    assert same(aggregator.state_dict(), twin.state_dict())


def test_the_servers_randomness_is_not_drawn_from() -> None:
    plan = AttackPlan([Campaign(name="agr_tailored", clients=(5, 6))], num_clients=7, rounds=1, seed=0)
    servers = torch.Generator().manual_seed(3)
    before = servers.get_state()
    context = RoundContext(client_ids=tuple(range(7)), generator=servers)
    defence = Defence(build_aggregator("cc_random_bucketing"), [pre_aggregators.build("bucketing")])
    adversary = Adversary(plan, [build_attack("agr_tailored")])
    adversary.replace_rows(Target(random_rows(7, COLUMNS), defence, context))
    assert torch.equal(servers.get_state(), before)


@every_aggregator
@pytest.mark.parametrize("columns", [COLUMNS, BLOCK + 77])
def test_cheap_answers_are_those_of_the_defence(name: str, columns: int) -> None:
    """With accomplices, after two rounds, against the real step of the whole matrix in the order of the ids."""
    aggregator, last = after_two_rounds(name, 10, columns)
    honest, accomplice = random_rows(6, columns, shift=1.0), random_rows(1, columns, seed=8)
    attackers = torch.Generator().manual_seed(17)
    context = facts(10, columns, 2, last)
    view = view_of(honest, 3, aggregator, context=replace(context, generator=attackers), accomplices=accomplice)
    line = Line(honest.mean(0), -honest.mean(0) + random_rows(1, columns, seed=9)[0])
    deviation = view.probe().deviation_along(line)
    seed = draw_seed(torch.Generator().manual_seed(17))
    for gamma in (0.0, 0.7, 4.0, 0.7, 100.0):
        rows = torch.cat([honest, line.at(gamma).expand(3, -1), accomplice])
        asked = replace(context, generator=torch.Generator().manual_seed(seed))
        step = copy.deepcopy(aggregator)(rows, asked)
        expected = float((step.double() - honest.double().mean(0)).norm())
        assert deviation(gamma) == pytest.approx(expected, rel=1e-4, abs=1e-6 * float(honest.norm()))


def rotation(columns: int) -> Tensor:
    """A random orthogonal matrix."""
    random = torch.randn(columns, columns, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return torch.linalg.qr(random).Q


ROTATING = [name for name in available_aggregators() if aggregators.get(name).commutes_with_rotations]


@pytest.mark.parametrize("name", ROTATING)
def test_what_declares_to_commute_with_rotations_does(name: str) -> None:
    turn, plain, turned = rotation(30), build_aggregator(name), build_aggregator(name)
    for round in range(3):
        rows = random_rows(9, 30, seed=round, shift=1.0).double()
        step = plain(rows, facts(9, 30, round))
        torch.testing.assert_close(turned(rows @ turn, facts(9, 30, round)), step @ turn, rtol=1e-8, atol=1e-8)


ROTATING_PRE = [name for name in pre_aggregators.describe() if pre_aggregators.get(name).commutes_with_rotations]


@pytest.mark.parametrize("name", ROTATING_PRE)
def test_pre_aggregators_that_declare_to_commute_with_rotations_do(name: str) -> None:
    turn, pre = rotation(30), pre_aggregators.build(name)
    rows = random_rows(9, 30, shift=1.0).double()
    out, _ = pre(UpdateMatrix(rows), facts(9, 30))
    turned, _ = pre(UpdateMatrix(rows @ turn), facts(9, 30))
    torch.testing.assert_close(turned.tensor(), out.tensor() @ turn, rtol=1e-8, atol=1e-8)


def test_coordinate_wise_rules_do_not_commute_and_do_not_say_so() -> None:
    assert ROTATING
    assert ROTATING_PRE
    turn, rows = rotation(30), random_rows(9, 30).double()
    for name in ("cwmed", "cwtm", "fedseca"):
        assert name not in ROTATING
        assert not torch.allclose(build_aggregator(name)(rows @ turn), build_aggregator(name)(rows) @ turn, atol=1e-3)


def test_the_search_follows_its_recipe() -> None:
    tried: list[float] = []

    def peak(x: float) -> float:
        tried.append(x)
        return -((x - 5) ** 2)

    best, value = search_largest(peak, 20, 1.0)
    assert tried[:4] == [0.0, 1.0, 3.0, 7.0]  # 7 is no better than 3
    assert tried[4] == pytest.approx(0.0)  # then back by 0.8 * 4, not below zero
    assert len(tried) == 20
    assert value == max(-((x - 5) ** 2) for x in tried) == -((best - 5) ** 2)
    assert best == pytest.approx(5, abs=0.3)


@pytest.mark.parametrize(
    ("objective", "expected", "within"),
    [
        (lambda x: -x, 0.0, 0.0),
        (lambda x: min(x, 100.0), 100.0, 60.0),
        (lambda x: x if x <= 37 else 0.0, 37.0, 2.0),
        (lambda x: 1.0, 0.0, 0.0),
    ],
)
def test_the_search_on_known_functions(objective: Any, expected: float, within: float) -> None:
    best, value = search_largest(objective, 20, 1.0)
    assert abs(best - expected) <= within
    assert value == objective(best)
    assert best >= 0


# ROP -----------------------------------------------------------------------------------------------


def literal_rop(
    mean: np.ndarray, last: np.ndarray, angle: float, z: float, weight: float, rho: float
) -> tuple[np.ndarray, np.ndarray]:
    """The row and u."""
    u = weight * last + (1 - weight) * mean
    ones = np.ones_like(u)
    o = ones - (ones @ u) / (u @ u) * u
    o /= np.linalg.norm(o)
    pi = o * np.sin(np.radians(angle)) + u / np.linalg.norm(u) * np.cos(np.radians(angle))
    return rho * last + (1 - rho) * mean + z * pi / np.linalg.norm(pi), u


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 180.0])
@pytest.mark.parametrize(("weight", "rho"), [(0.9, 1.0), (0.3, 0.4), (0.0, 0.0), (1.0, 0.0)])
@pytest.mark.parametrize("first_round", [False, True])
def test_rop_is_its_formula(angle: float, weight: float, rho: float, first_round: bool) -> None:
    honest, last = random_rows(5, COLUMNS, shift=1.0), random_rows(1, COLUMNS, seed=3)[0]
    context = facts(7, last_step=None if first_round else last)
    attack = build_attack("rop", angle=angle, z=0.7, reference_weight=weight, relocation=rho)
    sent = attack(view_of(honest, context=context))
    mean = honest.double().numpy().mean(0)
    reference = mean if first_round else last.double().numpy()
    expected, u = literal_rop(mean, reference, angle, 0.7, weight, rho)
    np.testing.assert_allclose(sent.double().numpy(), np.stack([expected] * 2), rtol=1e-5, atol=1e-6)
    moved = sent[0].double().numpy() - (rho * reference + (1 - rho) * mean)
    assert np.linalg.norm(moved) == pytest.approx(0.7, rel=1e-5)
    assert moved @ u / (0.7 * np.linalg.norm(u)) == pytest.approx(math.cos(math.radians(angle)), abs=1e-5)


def test_rop_where_there_is_no_angle() -> None:
    one = build_attack("rop")(view_of(torch.tensor([[3.0], [5.0]])))
    assert one.flatten().tolist() == [4.5, 4.5]  # the ones are parallel to u: along u
    one = build_attack("rop")(view_of(torch.tensor([[-3.0], [-5.0]])))
    assert one.flatten().tolist() == [-4.5, -4.5]
    flat = build_attack("rop")(view_of(torch.full((3, 4), 0.1)))
    torch.testing.assert_close(flat, torch.full((2, 4), 0.1 + 0.25))
    nowhere = build_attack("rop")(view_of(torch.zeros(3, 4)))
    torch.testing.assert_close(nowhere, torch.full((2, 4), 0.25))  # u is zero: along the ones


# Fang ----------------------------------------------------------------------------------------------


def literal_bound(rows: Tensor, byzantine: int) -> float:
    """Theorem 1 of Fang et al. for a global model of zero, by loops."""
    honest, columns = rows.shape
    distances = direct_squared_distances(rows).tolist()
    count = max(1, honest + byzantine - byzantine - 2)
    sums = [sum(sorted(distances[i][j] for j in range(honest) if j != i)[:count]) for i in range(honest)]
    norms = rows.double().norm(dim=1)
    return math.sqrt(min(sums) / (max(1, honest - byzantine - 1) * columns)) + float(norms.max()) / math.sqrt(columns)


@pytest.mark.parametrize(("honest", "byzantine"), [(1, 1), (2, 1), (3, 2), (6, 3), (9, 1)])
def test_fangs_lambda_starts_at_the_papers_bound(honest: int, byzantine: int) -> None:
    rows = random_rows(honest, COLUMNS)
    squares = rows.double().square().sum(1)
    bound = upper_bound(direct_squared_distances(rows), squares, byzantine, COLUMNS)
    assert bound == pytest.approx(literal_bound(rows, byzantine), rel=1e-12)
    attack = build_attack("fang", target="krum")
    attack(view_of(rows, byzantine))
    halvings = math.log2(bound / attack.diagnostics["lambda"])
    assert halvings == pytest.approx(round(halvings), abs=1e-6)
    assert halvings > -1e-6


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
@pytest.mark.parametrize(("honest", "byzantine"), [(3, 1), (6, 1), (6, 2), (7, 3), (10, 4)])
def test_krum_selects_what_fang_says_it_selects(honest: int, byzantine: int, spread: float) -> None:
    """And nothing at twice the lambda, or it would not have been halved."""
    for seed in range(4):
        rows = spread * random_rows(honest, 15, seed=seed)
        rows += random_rows(1, 15, seed=50)
        attack = build_attack("fang", target="krum")
        sent = attack(view_of(rows, byzantine))
        strength = attack.diagnostics["lambda"]
        torch.testing.assert_close(sent[0], -strength * rows.mean(0).sign())
        both = torch.cat([rows, sent])
        krum = build_aggregator("krum", num_byzantine=byzantine)
        krum(both)
        chosen = int(krum.diagnostics.trust.argmax())
        assert chosen == krum_choice(both, byzantine)
        assert (chosen >= honest) == bool(attack.diagnostics["selected"])
        assert attack.diagnostics["selected"] or strength < 1e-5
        if strength * 2 <= literal_bound(rows, byzantine):
            assert krum_choice(torch.cat([rows, 2 * sent]), byzantine) < honest


def test_fang_against_krum_is_selected_where_honest_clients_disagree_and_gives_up_where_not() -> None:
    attack = build_attack("fang", target="krum")
    attack(view_of(random_rows(6, COLUMNS, shift=0.1), 3))
    assert attack.diagnostics["selected"] == 1
    agreeing = 1 + 1e-7 * torch.randn(7, COLUMNS, generator=torch.Generator().manual_seed(0))
    attack(view_of(agreeing, 1))
    assert attack.diagnostics["selected"] == 0
    assert 5e-6 <= attack.diagnostics["lambda"] < 1e-5
    assert not attack(view_of(torch.zeros(4, 3), 1)).any()


def test_ties_of_krum_go_to_the_lower_id_in_fangs_sight_too() -> None:
    """Two honest and two attackers, f = 2: every row has one neighbour; pairs at distance 0 tie."""
    rows = torch.ones(2, 4)
    for honest_first in (True, False):
        ids = (0, 1, 2, 3) if honest_first else (2, 3, 0, 1)
        attack = build_attack("fang", target="krum")
        attack(view_of(rows, 2, context=RoundContext(client_ids=ids)))
        assert attack.diagnostics["selected"] == float(not honest_first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fang_against_the_trimmed_mean_stays_just_beyond_the_honest_values(dtype: torch.dtype) -> None:
    rows = random_rows(5, 4000, shift=1.5).to(dtype)
    rows[:, :10] = 0
    rows[:, 10:20] = rows[:1, 10:20].abs() + torch.arange(1, 6, dtype=dtype)[:, None]  # all positive
    rows[:, 20:30] = -rows[:, 10:20]
    sent = build_attack("fang", target="trimmed_mean")(view_of(rows, 3, context=facts(8)))
    mean, low, high = rows.double().mean(0), rows.amin(0), rows.amax(0)
    for row in sent:
        down, up = row[mean > 0], row[mean < 0]
        m, top = low[mean > 0], high[mean < 0]
        assert bool((down <= m).all() and (down >= torch.where(m > 0, m / 2, 2 * m)).all())
        assert bool((up >= top).all() and (up <= torch.where(top < 0, top / 2, 2 * top)).all())
        assert not row[:10].any()
        shares = (down - m) / torch.where(m > 0, -m / 2, m)
        shares = shares[m != 0]
        assert 0.45 < float(shares.mean()) < 0.55
        assert float(shares.std()) == pytest.approx(12**-0.5, abs=0.02)
    shares = (sent - sent.double().mean(0)).double()
    assert abs(float(torch.corrcoef(shares[:2, 30:])[0, 1]) + 0.5) < 0.1  # of three independent rows, less their mean


def test_fangs_draws_belong_to_the_client_and_the_round() -> None:
    rows = random_rows(5, COLUMNS)

    def sent(ids: tuple[int, ...], seed: int) -> Tensor:
        context = RoundContext(client_ids=(*range(5), *ids), generator=torch.Generator().manual_seed(seed))
        return build_attack("fang", target="trimmed_mean")(view_of(rows, len(ids), context=context))

    assert torch.equal(sent((7, 9), 0)[1], sent((9,), 0)[0])
    assert not torch.equal(sent((9,), 0), sent((9,), 1))
    assert not torch.equal(sent((7, 9), 0)[0], sent((7, 9), 0)[1])


@pytest.mark.parametrize("target", ["krum", "trimmed_mean"])
def test_fangs_targets_agree_whole_and_in_three_shards(target: str) -> None:
    rows = random_rows(5, 3 * BLOCK + 77)
    whole, cut = build_attack("fang", target=target), build_attack("fang", target=target)
    one, other = whole(view_of(rows)), cut(view_of(ColumnShards.cut(rows, 3)))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


# The worst of several ------------------------------------------------------------------------------


@pytest.mark.parametrize("defence", ["cwmed", "krum", "fedavg", "fedseca", "rfa"])
def test_worst_of_sends_what_moves_the_aggregate_farthest(defence: str) -> None:
    members = ["alie", {"name": "ipm", "epsilon": 0.2}, {"name": "fang", "strength": 0.3}, "min_max", "opt_ipm"]
    for seed in range(3):
        honest, aggregator = random_rows(6, COLUMNS, seed=seed, shift=0.2 * seed), build_aggregator(defence)
        view, deviations = view_of(honest, 2, aggregator, context=facts(8)), []
        for member in members:
            settings = {"name": member} if isinstance(member, str) else dict(member)
            rows = build_attack(settings.pop("name"), **settings)(view)
            deviations.append(real_deviation(aggregator, honest, rows, facts(8)))
        attack = build_attack("worst_of", members=members)
        sent = attack(view)
        assert attack.diagnostics["member"] == float(np.argmax(deviations))
        assert attack.diagnostics["deviation"] == pytest.approx(max(deviations), rel=1e-6)
        assert real_deviation(aggregator, honest, sent, facts(8)) == pytest.approx(max(deviations), rel=1e-6)


def test_the_deviation_of_worst_of_is_its_own_not_that_of_a_member_that_probes() -> None:
    """They are asked with other randomness: the member finds other buckets than worst_of, which asks last."""
    honest, seen = random_rows(6, COLUMNS, shift=0.4), []

    class Listening(aggregators.get("cc_random_bucketing")):
        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            step = super().aggregate(updates, context)
            seen.append(float((step.double() - honest.double().mean(0)).norm()))
            return step

    attack = build_attack("worst_of", members=["opt_ipm"])
    attack(view_of(honest, 2, Listening(), context=facts(8)))
    assert attack.diagnostics["deviation"] == pytest.approx(seen[-1], rel=1e-6)
    assert all(seen[-1] != pytest.approx(other, rel=1e-6) for other in seen[:-1])
    assert "epsilon" in attack.diagnostics


def test_worst_of_reports_what_the_chosen_member_says() -> None:
    attack = build_attack("worst_of", members=["ipm", {"name": "alie", "z": 50.0}])
    sent = attack(view_of(random_rows(6, COLUMNS), 2, build_aggregator("fedavg")))
    assert attack.diagnostics["member"] == 1
    assert attack.diagnostics["z"] == 50
    assert torch.equal(sent, build_attack("alie", z=50.0)(view_of(random_rows(6, COLUMNS))))


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
        attack = build_attack("worst_of", members=["ipm", "alie"])
        first, second = Watcher(), Trainee()
        first.draws = draws
        attack._members, attack.trains = [first, second], True
        seen.clear()
        attack(AttackView(honest=rows, own=own, aggregator=build_aggregator("cwmed"), context=facts(8)))
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


def test_worst_of_keeps_the_states_of_its_members_and_passes_on_what_it_is_told() -> None:
    told: list[tuple[int, float]] = []

    class Counting(Attack):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0

        def craft(self, view: AttackView) -> Tensor:
            self.count += 1
            return view.honest.mean() * self.count

        def observe(self, context: RoundContext) -> None:
            told.append((context.round, float(torch.rand(1, generator=context.randomness()))))

        def check(self, num_rows: int, num_byzantine: int) -> None:
            raise ConfigError("depth", f"{num_rows} {num_byzantine}")

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.count = state["count"]

    attack = build_attack("worst_of", members=["ipm", "alie"])
    attack._members = [build_attack("ipm"), Counting()]
    attack(view_of(random_rows(6, COLUMNS), 2, build_aggregator("cwmed")))
    assert attack.state_dict() == {"members": [{}, {"count": 1}]}
    twin = copy.deepcopy(attack)
    twin.load_state_dict({"members": [{}, {"count": 7}]})
    assert twin.state_dict() == {"members": [{}, {"count": 7}]}
    buffers = attack.for_buffers()
    buffers.load_state_dict({"members": [{}, {"count": 9}]})
    assert attack.state_dict() == {"members": [{}, {"count": 1}]}
    attack.observe(facts(8, round=3))
    assert [round for round, _ in told] == [3]
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
        attack(view_of(honest, 2, Overflowing()))
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


@pytest.mark.parametrize("name", [*TAILORED, "worst_of"])
def test_attacks_that_probe_say_so_where_there_is_nothing_to_probe(name: str) -> None:
    with pytest.raises(ConfigError, match="probes the server's aggregator"):
        build_attack(name)(view_of(random_rows(3, COLUMNS)))


def test_impossible_settings_are_named() -> None:
    for name, key, value in [
        ("min_max", "direction", "random"),
        ("min_sum", "direction", 1),
        ("agr_tailored", "direction", "up"),
        ("rop", "angle", 181.0),
        ("rop", "reference_weight", 1.1),
        ("rop", "relocation", -0.1),
        ("fang", "target", "median"),
    ]:
        with pytest.raises(ConfigError) as caught:
            build_attack(name, **{key: value})
        assert caught.value.key == key


def test_probing_the_probe() -> None:
    """A probe answers from the state that it was given, whatever becomes of the defence."""
    defence = build_aggregator("fedseca", momentum=0.5, sparsity=0.0)
    honest = random_rows(6, COLUMNS)
    probe = Probe(defence, UpdateMatrix(honest), None, 2, facts(8))
    row = honest.mean(0)
    before = probe.step(row)
    defence(random_rows(8, COLUMNS, seed=3), facts(8))
    assert torch.equal(probe.step(row), before)
