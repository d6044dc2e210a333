"""Election coding by its definition."""

import itertools
import math
from collections import Counter

import pytest
import torch

from fedsim.aggregators import build_aggregator
from support.aggregation import assert_step, context_of
from support.references import integer_rows, random_rows
from support.sign_references import auto_scale, cyclic_election


@pytest.mark.parametrize("redundancy", [1, 3, 5, 9])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 40])
def test_cyclic_election_by_its_definition(count: int, redundancy: int) -> None:
    ids = torch.randperm(100, generator=torch.Generator().manual_seed(count))[:count].tolist()
    order = sorted(range(count), key=ids.__getitem__)
    for rows in (random_rows(count, 61, seed=count), integer_rows(count, 61, count)):
        step = build_aggregator("election_coding", redundancy=redundancy)(rows, context_of(ids))
        assert_step(step, cyclic_election(rows[order], redundancy) * auto_scale(rows))


def test_four_well_placed_clients_of_nine_win_the_election_of_elections() -> None:
    rows = torch.tensor([[1.0], [1.0], [-1.0], [1.0], [1.0], [-1.0], [-1.0], [-1.0], [-1.0]])
    assert build_aggregator("election_coding", scale=1.0)(rows).tolist() == [1.0]  # nodes: + + + + - - - - +
    assert build_aggregator("election_coding", scale=1.0, redundancy=1)(rows).tolist() == [-1.0]
    assert build_aggregator("election_coding", scale=1.0, redundancy=9)(rows).tolist() == [-1.0]


def test_bernoulli_elections_have_the_distribution_of_all_assignments() -> None:
    rows = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    expected: Counter[tuple[float, ...]] = Counter()
    for polls in itertools.product([0, 1], repeat=9):
        nodes = (torch.tensor(polls).view(3, 3).float() @ rows).sign()
        expected[tuple(nodes.sum(0).sign().tolist())] += 1
    aggregator = build_aggregator("election_coding", assignment="bernoulli", scale=1.0)
    draws = 1500
    found = Counter(tuple(aggregator(rows, context_of(range(3), seed)).tolist()) for seed in range(draws))
    assert set(found) <= set(expected)
    for outcome, times in expected.items():
        share = times / 512
        assert abs(found[outcome] / draws - share) < 5 * math.sqrt(share * (1 - share) / draws), outcome


def test_a_lone_node_that_polls_nobody_abstains() -> None:
    aggregator = build_aggregator("election_coding", assignment="bernoulli", scale=2.0)
    steps = [aggregator(torch.tensor([[-7.0]]), context_of([0], seed)).item() for seed in range(200)]
    assert set(steps) == {0.0, -2.0}
    assert 60 < steps.count(0.0) < 140
