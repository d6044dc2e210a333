"""DETOX: votes of redundant groups, then an inner rule."""

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.errors import ConfigError
from support.aggregation import assert_step, context_of
from support.references import random_rows

# DETOX ---------------------------------------------------------------------------------------------


def groups_of(aggregator: Any) -> list[list[int]]:
    group = aggregator.diagnostics.per_client["group"].tolist()
    return [[row for row, own in enumerate(group) if own == number] for number in range(max(group) + 1)]


@pytest.mark.parametrize("inner", ["cwmed", "fedavg", "krum"])
@pytest.mark.parametrize("vote", ["median", "mean"])
@pytest.mark.parametrize(("count", "size"), [(1, 3), (2, 3), (7, 3), (8, 2), (9, 3), (5, 1), (20, 4), (4, 9)])
def test_detox_is_its_inner_rule_over_the_votes_of_its_groups(count: int, size: int, vote: str, inner: str) -> None:
    rows = random_rows(count, 53, seed=count)
    aggregator = build_aggregator("detox", group_size=size, vote=vote, inner=inner)
    step = aggregator(rows, context_of(range(count), 3))
    groups = groups_of(aggregator)
    sizes = [size] * (count // size) + ([count % size] if count % size else [])
    assert [len(members) for members in groups] == sizes
    wide = rows.double()
    voted = [wide[own].mean(0) if vote == "mean" else wide[own].median(0).values for own in groups]
    assert_step(step, build_aggregator(inner)(torch.stack(voted)).numpy())


def test_detox_draws_new_groups_each_round_and_by_client_id() -> None:
    rows, ids = random_rows(6, 20), [40, 7, 12, 3, 99, 5]
    aggregator = build_aggregator("detox", group_size=2)
    seen = []
    for seed in range(5):
        step = aggregator(rows, context_of(ids, seed))
        seen.append({frozenset(ids[row] for row in members) for members in groups_of(aggregator)})
        order = [5, 2, 0, 3, 1, 4]
        permuted = aggregator(rows[order], context_of([ids[row] for row in order], seed))
        assert torch.equal(step, permuted)
        assert seen[-1] == {frozenset(ids[order[row]] for row in members) for members in groups_of(aggregator)}
    assert any(groups != seen[0] for groups in seen)


def test_detox_pairs_every_client_with_every_other_equally_often() -> None:
    aggregator = build_aggregator("detox", group_size=2, inner="fedavg")
    together: Counter[tuple[int, ...]] = Counter()
    for seed in range(600):
        aggregator(torch.zeros(4, 1), context_of(range(4), seed))
        together.update(map(tuple, groups_of(aggregator)))
    assert len(together) == 6
    assert all(130 < times < 270 for times in together.values())  # 200 on average


def test_detox_passes_the_inner_state_and_trust_on() -> None:
    rounds = [random_rows(7, 40, seed=seed) for seed in range(4)]
    aggregator: Any = build_aggregator("detox", inner="fedseca", group_size=2)
    aggregator.inner.settings = aggregator.inner.settings.model_copy(update={"momentum": 0.5, "sparsity": 0.2})
    resumed = copy.deepcopy(aggregator)
    for number in range(2):
        aggregator(rounds[number], context_of(range(7), number))
    state = copy.deepcopy(aggregator.state_dict())
    assert state
    fresh_step = copy.deepcopy(resumed)(rounds[2], context_of(range(7), 2))
    resumed.load_state_dict(state)
    for number in (2, 3):
        expected = aggregator(rounds[number], context_of(range(7), number))
        found = resumed(rounds[number], context_of(range(7), number))
        assert torch.equal(found, expected)
        assert number == 3 or not torch.equal(found, fresh_step)
    trust, of_group = aggregator.diagnostics.trust, aggregator.inner.diagnostics.trust
    for number, members in enumerate(groups_of(aggregator)):
        assert trust[members].tolist() == [float(of_group[number])] * len(members)


@pytest.mark.parametrize("generator", [torch.Generator().manual_seed(0), None], ids=["given", "of the round"])
def test_the_inner_rule_of_detox_does_not_draw_the_same_numbers_again(generator: torch.Generator | None) -> None:
    """With groups of one, an inner DETOX shuffles as many rows; the same shuffle would group them alike."""
    facts = replace(context_of(range(12)), generator=generator)
    nested: Any = build_aggregator("detox", group_size=1, inner="detox")
    state = None if generator is None else generator.get_state()
    nested(random_rows(12, 5), facts)
    if generator is not None:
        generator.set_state(state)
    plain = build_aggregator("detox")
    plain(random_rows(12, 5), facts)
    of_inner = nested.inner.diagnostics.per_client["group"].tolist()
    assert of_inner != plain.diagnostics.per_client["group"].tolist()


def test_one_huge_row_in_a_group_does_not_disturb_the_median_of_detox() -> None:
    honest = 1e-3 * random_rows(8, 101)
    rows = torch.cat([honest, torch.full((1, 101), 1e20)])
    step = build_aggregator("detox")(rows, context_of(range(9)))
    assert bool((step >= honest.amin(0)).all())
    assert bool((step <= honest.amax(0)).all())


# All of them ---------------------------------------------------------------------------------------


def test_detox_names_the_nearest_inner_rule() -> None:
    with pytest.raises(ConfigError, match=r"inner: unknown aggregator 'cwmedd'; did you mean 'cwmed'"):
        build_aggregator("detox", inner="cwmedd")
