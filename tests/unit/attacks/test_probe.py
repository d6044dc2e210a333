"""Probes of the server's aggregator: what they leave behind and what they answer."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, aggregators, available_aggregators, build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import build_attack
from fedsim.attacks.probe import Line, Probe, search_largest
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.server.adversary import Adversary, Target
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.random_rows import draw_seed
from support.attack_views import COLUMNS, full_context, view_against
from support.references import random_rows

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
    for round_index in range(2):
        rows = random_rows(count, columns, seed=70 + round_index, shift=1.0)
        step = aggregator(rows, full_context(count, columns, round_index, step))
    assert step is not None
    return aggregator, step


@pytest.mark.parametrize("probes", [50, pytest.param(1000, marks=pytest.mark.slow)])
@every_aggregator
def test_many_probes_leave_no_trace(name: str, probes: int) -> None:
    columns = 20
    aggregator, last = after_two_rounds(name, 9, columns)
    twin = copy.deepcopy(aggregator)
    honest, own = random_rows(7, columns, shift=1.0), random_rows(2, columns, seed=5)
    view = view_against(honest, 2, aggregator, context=full_context(9, columns, 2, last))
    deviation = view.probe().deviation_along(Line(honest.mean(0), own[0]))
    global_state = torch.get_rng_state()
    for count in range(probes):
        deviation(0.5 * count)
    assert torch.equal(torch.get_rng_state(), global_state)
    assert same(aggregator.state_dict(), twin.state_dict())
    rows = torch.cat([honest, own])
    assert torch.equal(
        aggregator(rows, full_context(9, columns, 2, last)), twin(rows, full_context(9, columns, 2, last))
    )
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
    context = full_context(10, columns, 2, last)
    view = view_against(honest, 3, aggregator, context=replace(context, generator=attackers), accomplices=accomplice)
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
    for round_index in range(3):
        rows = random_rows(9, 30, seed=round_index, shift=1.0).double()
        step = plain(rows, full_context(9, 30, round_index))
        torch.testing.assert_close(
            turned(rows @ turn, full_context(9, 30, round_index)), step @ turn, rtol=1e-8, atol=1e-8
        )


ROTATING_PRE = [name for name in pre_aggregators.describe() if pre_aggregators.get(name).commutes_with_rotations]


@pytest.mark.parametrize("name", ROTATING_PRE)
def test_pre_aggregators_that_declare_to_commute_with_rotations_do(name: str) -> None:
    turn, pre = rotation(30), pre_aggregators.build(name)
    rows = random_rows(9, 30, shift=1.0).double()
    out, _ = pre(UpdateMatrix(rows), full_context(9, 30))
    turned, _ = pre(UpdateMatrix(rows @ turn), full_context(9, 30))
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


# The worst of several ------------------------------------------------------------------------------


def test_probing_the_probe() -> None:
    """A probe answers from the state that it was given, whatever becomes of the defence."""
    defence = build_aggregator("fedseca", momentum=0.5, sparsity=0.0)
    honest = random_rows(6, COLUMNS)
    probe = Probe(defence, UpdateMatrix(honest), None, 2, full_context(8))
    row = honest.mean(0)
    before = probe.step(row)
    defence(random_rows(8, COLUMNS, seed=3), full_context(8))
    assert torch.equal(probe.step(row), before)
