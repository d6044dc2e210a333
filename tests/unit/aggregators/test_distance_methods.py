"""The methods that decide by distances between rows, by their definitions and by ByzFL.

ByzFL is no yardstick everywhere: its Multi-Krum sums one neighbour more than the paper, its distances of more
than 25 rows lose accuracy, its CAF fails at f = 0, finds its eigenvector by one step from a random start and
compares with the largest deviation even where that client has no weight left.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.pre import pre_aggregators
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import context_of
from support.distance_references import bulyan, caf, mda, meamed, multi_krum
from support.references import random_rows

LARGEST_F: dict[str, Callable[[int], int]] = {
    "multi_krum": lambda clients: max(0, (clients - 3) // 2),
    "bulyan": lambda clients: max(0, (clients - 3) // 4),
    "meamed": lambda clients: (clients - 1) // 2,
    "mda": lambda clients: (clients - 1) // 2,
    "caf": lambda clients: (clients - 1) // 2,
}

AGGREGATORS = sorted(LARGEST_F)


# The definitions, slowly and in float64 ------------------------------------------------------------


REFERENCES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "multi_krum": multi_krum,
    "meamed": meamed,
    "bulyan": bulyan,
    "mda": mda,
    "caf": caf,
}


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("clients", [1, 2, 3, 4, 5, 6, 7, 9, 11, 12])
def test_step_equals_the_float64_definition_for_every_f(clients: int, name: str) -> None:
    for f in range(LARGEST_F[name](clients) + 1):
        rows = random_rows(clients, 33, seed=f)
        rows[clients - f :] += 1.5
        step = build_aggregator(name, num_byzantine=f)(rows)
        torch.testing.assert_close(step.double(), REFERENCES[name](rows, f), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("clients", [1, 2, 3, 4, 5, 8, 11])
def test_left_out_f_is_the_largest_allowed_and_more_is_an_error_in_a_run_and_in_a_call(
    clients: int, name: str
) -> None:
    largest = LARGEST_F[name](clients)
    rows = random_rows(clients, 33)
    given = build_aggregator(name, num_byzantine=largest)
    given.check(clients)
    assert torch.equal(build_aggregator(name)(rows), given(rows))
    too_many = build_aggregator(name, num_byzantine=clients if name == "multi_krum" else largest + 1)
    for use in (lambda: too_many.check(clients), lambda: too_many(rows)):
        with pytest.raises(ConfigError, match=f"the most it allows is {largest}") as caught:
            use()
        assert caught.value.key == "num_byzantine"


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_dropped_client_counts_against_f(name: str) -> None:
    rows = random_rows(11, 33)
    rows[8:] += 2
    step = build_aggregator(name, num_byzantine=2)(rows, context_of(range(11), dropped=1))
    assert torch.equal(step, build_aggregator(name, num_byzantine=1)(rows))
    assert not torch.equal(step, build_aggregator(name, num_byzantine=2)(rows))


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("place", [0, 5, 10])
def test_what_survives_beside_rows_at_1e20_is_right(place: int, name: str) -> None:
    f = LARGEST_F[name](11)
    honest = 1e-3 * random_rows(11 - f, 101, seed=3)
    wild = 1e20 * torch.ones(f, 101)
    wild[1:] *= 1 + 1e-7 * random_rows(1, 101)  # nearly the same, but for the last digit
    rows = torch.cat([honest, wild]).roll(place, dims=0)
    step = build_aggregator(name)(rows)
    torch.testing.assert_close(step.double(), REFERENCES[name](rows, f), rtol=1e-5, atol=1e-10)
    assert float(step.abs().max()) < 0.01


@pytest.mark.parametrize("name", AGGREGATORS)
def test_differences_in_the_seventh_digit_count(name: str) -> None:
    base = 1 + random_rows(1, 101).abs()
    rows = base + 2e-6 * torch.randn(11, 101, generator=torch.Generator().manual_seed(1))
    f = LARGEST_F[name](11)
    expected = REFERENCES[name](rows, f)
    step = build_aggregator(name)(rows)
    torch.testing.assert_close(step.double(), expected, rtol=1e-7, atol=0)  # one rounding to float32
    plain_mean = rows.double().mean(0).float()
    assert not torch.equal(step, plain_mean)


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize(("clients", "columns"), [(1, 1), (2, 1), (3, 1), (4, 7), (7, 1), (40, 3)])
def test_zero_and_identical_rows_and_single_columns(clients: int, columns: int, name: str) -> None:
    assert torch.equal(build_aggregator(name)(torch.zeros(clients, columns)), torch.zeros(columns))
    row = torch.arange(1.0, columns + 1) / 3
    assert torch.equal(build_aggregator(name)(row.expand(clients, -1)), row)
    two_values = torch.cat([row.expand(clients, -1), -row.expand(1, -1)])
    assert bool(build_aggregator(name)(two_values).isfinite().all())


@pytest.mark.parametrize("name", AGGREGATORS)
def test_ties_do_not_depend_on_the_order_of_the_rows(name: str) -> None:
    """Small integers tie everywhere; corners of a cross have no single direction of largest variance."""
    cross = torch.cat([torch.eye(4), -torch.eye(4)])
    grids = [torch.randint(-1, 2, (9, 5), generator=torch.Generator().manual_seed(s)).float() for s in range(6)]
    for rows in [cross, torch.eye(7), *grids]:
        ids = [5 * client % 23 for client in range(len(rows))]
        step = build_aggregator(name)(rows, context_of(ids))
        for seed in range(4):
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
            permuted = build_aggregator(name)(rows[order], context_of([ids[row] for row in order]))
            torch.testing.assert_close(permuted, step, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted({*AGGREGATORS} - {"meamed"}))
def test_trust_is_zero_for_a_far_client_and_one_for_a_near_one(name: str) -> None:
    rows = random_rows(9, 40)
    rows[2] += 50
    aggregator = build_aggregator(name, num_byzantine=1)
    aggregator(rows)
    trust = aggregator.diagnostics.trust
    assert trust is not None
    assert trust[2] == 0
    assert trust.max() > 0.9


# Bucketing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre_name", pre_aggregators.describe())
@pytest.mark.parametrize("name", AGGREGATORS)
def test_every_aggregator_works_behind_every_pre_aggregator(name: str, pre_name: str) -> None:
    rows = 1 + random_rows(14, 40)
    rows[13] = -1e6
    aggregator = build_aggregator(name, num_byzantine=1)
    step = aggregator(*pre_aggregators.build(pre_name)(UpdateMatrix(rows), context_of(range(14))))
    assert torch.nn.functional.cosine_similarity(step, rows[:13].mean(0), dim=0) > 0.5


def test_a_row_with_nan_is_left_out_before_the_distances() -> None:
    rows = random_rows(8, 12)
    rows[3, 2] = torch.nan
    with pytest.warns(FedsimWarning, match=r"\[3\]"):
        step = build_aggregator("multi_krum", num_byzantine=1)(rows)
    kept = rows[torch.arange(8) != 3]
    torch.testing.assert_close(step.double(), kept.double().mean(0), rtol=1e-6, atol=1e-7)  # f is used up
