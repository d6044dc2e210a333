"""The rules of the FedSECA paper's tables, at its numbers of clients, against slow forms of their definitions."""

import itertools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import build_attack
from support.aggregation import assert_steps, steps_over, transform
from support.attack_references import CRAFTED, attacked_rounds, attacked_rows, crafted, papers_clients
from support.attack_views import full_view
from support.distance_references import arc, bulyan, caf, copod_dos, mda, meamed, multi_krum, nnm
from support.iterative_references import plain_clipping, plain_huber, plain_rfa
from support.references import integer_rows, krum, median, random_rows, trimmed_mean
from support.sign_references import ties
from support.slow_fldetector import SlowFLDetector

AT_F: dict[str, Callable[[Tensor, int], Tensor]] = {
    "cwtm": trimmed_mean,
    "krum": krum,
    "multi_krum": multi_krum,
    "bulyan": bulyan,
    "meamed": meamed,
    "mda": mda,
    "caf": caf,
    "nnm": nnm,
    "arc": arc,
}
PRE = {"nnm", "arc"}
LARGEST: Mapping[str, Callable[[int], int]] = {
    "bulyan": lambda clients: max(0, (clients - 3) // 4),
    "multi_krum": lambda clients: max(0, (clients - 3) // 2),
    "krum": lambda clients: clients - 1,  # it warns and goes on
}
DECIDED_BY_AN_EIGENVECTOR = {"caf"}
"""With small integers it may not be unique."""


def made_by(name: str, rows: Tensor, f: int) -> Tensor:
    if name in PRE:
        return transform(pre_aggregators.build(name, num_byzantine=f), rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Krum's, beyond its proof
        return build_aggregator(name, num_byzantine=f)(rows)


def tolerances(name: str, clients: int) -> range:
    """Every f that the rule takes."""
    return range(LARGEST.get(name, lambda count: (count - 1) // 2)(clients) + 1)


@papers_clients
@crafted
@pytest.mark.parametrize("name", AT_F)
def test_rules_with_an_f(clients: int, byzantine: int, attack: str, name: str) -> None:
    for seed in range(4):
        rows = attacked_rows(clients, byzantine, attack, seed)
        for f in tolerances(name, clients):
            assert_steps([made_by(name, rows, f)], [AT_F[name](rows, f)])


@pytest.mark.parametrize("clients", [4, 5, 6, 7])
@pytest.mark.parametrize("name", sorted(set(AT_F) - DECIDED_BY_AN_EIGENVECTOR))
def test_rules_with_an_f_and_ties_everywhere(clients: int, name: str) -> None:
    for seed in range(10):
        rows = integer_rows(clients, 12, seed)
        for f in tolerances(name, clients):
            assert_steps([made_by(name, rows, f)], [AT_F[name](rows, f)])


@papers_clients
@crafted
def test_multi_krum_beyond_its_proof(clients: int, byzantine: int, attack: str) -> None:
    """With at least one neighbour, and K - f rows selected."""
    for seed in range(4):
        rows = attacked_rows(clients, byzantine, attack, seed)
        for f in range((clients - 3) // 2 + 1, clients):
            assert_steps([made_by("multi_krum", rows, f)], [multi_krum(rows, f)])


STATELESS: dict[str, tuple[dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "cwmed": ({}, median),
    "rfa": ({}, plain_rfa),
    "huber": ({}, plain_huber),
    "copod_dos": ({}, copod_dos),
    "ties": ({"election": "sign"}, lambda rows: torch.from_numpy(ties(rows))),
    "ties by magnitude": ({"election": "magnitude"}, lambda rows: torch.from_numpy(ties(rows, election="magnitude"))),
}


@papers_clients
@crafted
@pytest.mark.parametrize("case", STATELESS)
def test_rules_without_an_f(clients: int, byzantine: int, attack: str, case: str) -> None:
    settings, slow = STATELESS[case]
    rounds = attacked_rounds(clients, byzantine, attack)
    found = [build_aggregator(case.split()[0], **settings)(rows) for rows in rounds]
    assert_steps(found, [slow(rows) for rows in rounds])


@pytest.mark.parametrize("case", STATELESS)
def test_rules_without_an_f_and_ties_everywhere(case: str) -> None:
    settings, slow = STATELESS[case]
    for clients, seed in itertools.product([5, 6, 7], range(8)):
        rows = integer_rows(clients, 30, seed)
        assert_steps([build_aggregator(case.split()[0], **settings)(rows)], [slow(rows)])


@papers_clients
@crafted
@pytest.mark.parametrize("radius", [100.0, 5.0, "auto"])
def test_centered_clipping_over_rounds(clients: int, byzantine: int, attack: str, radius: float | str) -> None:
    rounds = attacked_rounds(clients, byzantine, attack)
    expected, v = list[Tensor](), None
    for rows in rounds:
        v = plain_clipping(rows, v, radius)
        expected.append(v)
    assert_steps(steps_over("centered_clipping", rounds, radius=radius), expected)


@papers_clients
@crafted
def test_fldetector_over_rounds(clients: int, byzantine: int, attack: str) -> None:
    rounds = attacked_rounds(clients, byzantine, attack, columns=20)
    slow, last, expected = SlowFLDetector(2), None, []
    found = steps_over("fldetector", rounds, window=2)
    for number, rows in enumerate(rounds):
        references = torch.rand(10, clients, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        expected.append(slow(rows, last, references)[0])
        last = found[number]
    assert_steps(found, expected, rtol=1e-4)


def test_the_crafted_rows_are_those_of_the_attacks() -> None:
    for attack in CRAFTED:
        rows = attacked_rows(5, 2, attack, seed=1)
        sent = build_attack(attack)(full_view(rows[:3], random_rows(2, 200)))
        torch.testing.assert_close(sent, rows[3:], rtol=1e-5, atol=1e-6)
