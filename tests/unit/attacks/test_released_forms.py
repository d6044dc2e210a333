"""The attacks as the FedSECA authors released them, and statopt, against slow forms of their definitions."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, RoundContext, UpdateMatrix, build_aggregator
from fedsim.attacks import Attack, AttackView, build_attack
from support.aggregation import context_of
from support.attack_references import (
    Rule,
    attacked_rows,
    papers_clients,
    released_agr_tailored,
    released_search,
    scaled_weights,
    statopt_deviation,
    statopt_row,
)
from support.distance_references import mda, meamed, multi_krum
from support.fedseca_reference import fedseca
from support.iterative_references import plain_rfa
from support.references import integer_rows, krum, mean, median, random_rows, trimmed_mean

TABLE = torch.tensor([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 1.0], [1.0, 1.0, 2.0]]).double()
"""The rows of the definitions' examples; the last is the attacker's own."""

RULES: dict[str, tuple[dict[str, Any], Rule]] = {
    "fedavg": ({}, mean),
    "cwmed": ({}, median),
    "cwtm": ({"num_byzantine": 1}, lambda rows: trimmed_mean(rows, 1)),
    "krum": ({"num_byzantine": 1}, lambda rows: krum(rows, 1)),
    "multi_krum": ({"num_byzantine": 1}, lambda rows: multi_krum(rows, 1)),
    "meamed": ({"num_byzantine": 1}, lambda rows: meamed(rows, 1)),
    "mda": ({"num_byzantine": 1}, lambda rows: mda(rows, 1)),
    "rfa": ({}, plain_rfa),
    "fedseca": ({"sparsity": 0.5}, lambda rows: fedseca([rows], 0.5)[0]),
}
every_rule = pytest.mark.parametrize("rule", RULES)


class Rounded(Aggregator):
    """Another rule's step, rounded: deviations that are equal but for rounding become equal."""

    inner: Aggregator

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        return self.inner(updates, context).round(decimals=9)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)


def rounded(inner: Aggregator) -> Rounded:
    outer = Rounded()
    outer.inner = inner
    return outer


def both_forms_of(rule: str) -> tuple[Aggregator, Rule]:
    """The rule and its slow form, equally rounded where it multiplies what it does not select."""
    settings, slow = RULES[rule]
    fast = build_aggregator(rule, **settings)
    if rule != "fedseca":
        return fast, slow
    return rounded(fast), lambda rows: slow(rows).round(decimals=9)


def clean_rows(clients: int, seed: int, columns: int = 60) -> Tensor:
    """What all clients computed themselves, attackers included, in float64: equal deviations are equal there."""
    return attacked_rows(clients + 1, 1, "ipm", seed, columns)[:clients].double()


def view_of(clean: Tensor, byzantine: int, aggregator: Aggregator | None, round_index: int = 0) -> AttackView:
    """The last clients attack."""
    honest = len(clean) - byzantine
    context = context_of(range(len(clean)), round_index)
    return AttackView(
        honest=UpdateMatrix(clean[:honest]), own=UpdateMatrix(clean[honest:]), aggregator=aggregator, context=context
    )


# agr_tailored, search: released --------------------------------------------------------------------


def released() -> Attack:
    return build_attack("agr_tailored", search="released")


@pytest.mark.parametrize(
    ("rule", "gamma", "row"),
    [
        ("fedavg", 14.9999809265, (-8.4341385168, -8.4341385168, -4.8195077239)),
        ("cwmed", 10.0000190735, (-5.1561131858, -5.1561131858, -2.9463503919)),
    ],
)
def test_the_released_search_in_the_definitions_example(rule: str, gamma: float, row: tuple[float, ...]) -> None:
    expected = torch.tensor([row], dtype=torch.float64)
    sent, gammas = released_agr_tailored(TABLE, [4], RULES[rule][1])
    assert gammas == pytest.approx([gamma], abs=1e-9)
    torch.testing.assert_close(sent, expected, rtol=0, atol=1e-9)
    found = released()(view_of(TABLE, 1, build_aggregator(rule)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


def test_the_released_search_takes_nineteen_tries_between_ten_and_fifteen() -> None:
    shapes: dict[str, Callable[[float], float]] = {
        "growing": lambda gamma: gamma,
        "falling": lambda gamma: -gamma + 99,
        "flat": lambda gamma: 1.0,
        "peaked": lambda gamma: 9 - (gamma - 12.0) ** 2,
        "zero": lambda gamma: 0.0,
    }
    for name, shape in shapes.items():
        gamma, tries = released_search(shape)
        assert tries == 19, name
        assert 10 <= gamma <= 15, name
    assert released_search(shapes["growing"])[0] == 15 - 5 / 2**18
    assert released_search(shapes["flat"])[0] == 10 + 5 / 2**18
    assert released_search(shapes["falling"])[0] == pytest.approx(10 + 5 / 3, abs=1e-4)  # against the try before
    gamma, tries = released_search(lambda gamma: math.nan)
    assert gamma == pytest.approx(5.0)
    assert tries == 1000


@papers_clients
@every_rule
def test_the_released_search_against_a_rule(clients: int, byzantine: int, rule: str) -> None:
    fast, slow = both_forms_of(rule)
    attackers = range(clients - byzantine, clients)
    for seed in range(3):
        clean = clean_rows(clients, seed)
        expected, _ = released_agr_tailored(clean, attackers, slow)
        found = released()(view_of(clean, byzantine, fast))
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@every_rule
def test_the_released_search_with_ties_everywhere(rule: str) -> None:
    fast, slow = both_forms_of(rule)
    for clients, seed in [(5, 0), (6, 1), (7, 2), (7, 3)]:
        clean = integer_rows(clients, 12, seed).double()
        expected, _ = released_agr_tailored(clean, [clients - 2, clients - 1], slow)
        found = released()(view_of(clean, 2, fast))
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


@papers_clients
def test_the_released_search_probes_a_rule_with_momentum_on_a_copy_of_its_state(clients: int, byzantine: int) -> None:
    """Four rounds: the attackers' rows go into the server's state, their tries do not."""
    server, past = rounded(build_aggregator("fedseca", sparsity=0.5, momentum=0.5)), list[Tensor]()
    attackers = range(clients - byzantine, clients)
    for number in range(4):
        clean = clean_rows(clients, seed=number)
        before = copy.deepcopy(server.state_dict())
        found = released()(view_of(clean, byzantine, server, number))
        after = server.state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)

        def rule(rows: Tensor, history: list[Tensor] = past) -> Tensor:
            return fedseca([*history, rows], 0.5, 0.5)[-1].round(decimals=9)

        expected, _ = released_agr_tailored(clean, attackers, rule)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        past = [*past, torch.cat([clean[: clients - byzantine], found])]
        server(past[-1], context_of(range(clients), number))


@papers_clients
def test_the_released_search_in_float32_stays_in_its_range(clients: int, byzantine: int) -> None:
    clean = clean_rows(clients, seed=9, columns=200).float()
    mu = clean.double().mean(0)
    for rule, (settings, _) in RULES.items():
        found = released()(view_of(clean, byzantine, build_aggregator(rule, **settings)))
        lengths = (mu - found.double()) @ (mu / mu.norm())
        assert bool(((lengths > 10 - 1e-4) & (lengths < 15 + 1e-4)).all()), rule


class CountingMean(Aggregator):
    """The mean, which remembers what it was asked. Copies remember together."""

    asked: list[dict[int, Tensor]] = []  # noqa: RUF012
    """The row of each client, by its id."""

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        self.asked.append(dict(zip(context.client_ids, updates.tensor().clone(), strict=True)))
        return updates.mean()


def test_each_attacker_of_the_released_search_tries_its_own_row_alone() -> None:
    clean = clean_rows(5, seed=1, columns=10)
    CountingMean.asked.clear()
    released()(view_of(clean, 2, CountingMean()))
    changed = [[row for row in range(5) if not torch.allclose(rows[row], clean[row])] for rows in CountingMean.asked]
    assert all(len(rows) == 1 for rows in changed)
    assert {rows[0] for rows in changed} == {3, 4}


def test_the_search_for_the_best_is_still_the_default() -> None:
    view = view_of(clean_rows(6, seed=2), 2, build_aggregator("cwtm"))
    one, other = build_attack("agr_tailored")(view), build_attack("agr_tailored", search="best")(view)
    assert torch.equal(one, other)


# scaling, of: weights ------------------------------------------------------------------------------


def weights_view(own: Tensor, weights: Tensor) -> AttackView:
    ids = tuple(range(3 + len(own)))
    facts: dict[str, Any] = {"client_ids": ids, "weights": weights}
    return AttackView(
        honest=UpdateMatrix(random_rows(3, own.shape[1])), own=UpdateMatrix(own), context=RoundContext(**facts)
    )


def test_scaled_weights_in_the_definitions_example() -> None:
    own, weights = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1.0, 0.0, -1.0])
    assert scaled_weights(own, weights, 10.0).tolist() == [[1.0, 20.0, 9.0]]
    sent = build_attack("scaling", factor=10.0, of="weights")(weights_view(own, weights))
    assert sent.tolist() == [[1.0, 20.0, 9.0]]


@papers_clients
@pytest.mark.parametrize("factor", [10.0, -2.0, 0.0, 1.0])
def test_scaled_weights_by_their_formula(clients: int, byzantine: int, factor: float) -> None:
    own, weights = random_rows(byzantine, 200, seed=clients), 3 * random_rows(1, 200, seed=50)[0]
    sent = build_attack("scaling", factor=factor, of="weights")(weights_view(own, weights))
    torch.testing.assert_close(sent.double(), scaled_weights(own, weights, factor), rtol=1e-5, atol=1e-5)


def test_an_update_is_scaled_unless_weights_are_asked_for() -> None:
    own, weights = random_rows(2, 50), random_rows(1, 50, seed=3)[0]
    for settings in ({}, {"of": "update"}):
        sent = build_attack("scaling", factor=7.0, **settings)(weights_view(own, weights))
        assert torch.equal(sent, 7 * own)


# statopt -------------------------------------------------------------------------------------------


def test_the_row_of_statopt_in_the_definitions_example() -> None:
    assert statopt_row(TABLE[:4], 2.0).tolist() == [-2.0, -2.0, -2.0]


@papers_clients
@every_rule
def test_statopt_sends_the_row_of_the_gamma_and_deviation_that_it_reports(
    clients: int, byzantine: int, rule: str
) -> None:
    """And tries 0 first, then 10, then 30 if 10 was better: it reaches at least what these do."""
    settings, slow = RULES[rule]
    for seed in range(3):
        clean = clean_rows(clients, seed)
        honest = clean[: clients - byzantine]
        attack = build_attack("statopt")
        sent = attack(view_of(clean, byzantine, build_aggregator(rule, **settings)))
        gamma, deviation = attack.diagnostics["gamma"], attack.diagnostics["deviation"]
        torch.testing.assert_close(sent, statopt_row(honest, gamma).expand_as(sent), rtol=1e-6, atol=1e-6)
        reached = statopt_deviation(honest, byzantine, gamma, slow)
        assert deviation == pytest.approx(reached, rel=1e-5)
        at_zero, at_ten, at_thirty = (statopt_deviation(honest, byzantine, g, slow) for g in (0.0, 10.0, 30.0))
        assert reached >= max(at_zero, at_ten) * (1 - 1e-5)
        if at_ten > at_zero * (1 + 1e-5):
            assert reached >= at_thirty * (1 - 1e-5)


def test_statopt_sends_zero_where_the_honest_mean_is_zero() -> None:
    honest = torch.tensor([[1.0, -2.0, 0.0], [-1.0, 2.0, 3.0]])
    clean = torch.cat([honest, torch.ones(1, 3)])
    sent = build_attack("statopt")(view_of(clean, 1, build_aggregator("cwmed")))
    assert sent[0, :2].tolist() == [0.0, 0.0]
    assert not build_attack("statopt")(view_of(torch.zeros(3, 4), 1, build_aggregator("cwmed"))).any()
