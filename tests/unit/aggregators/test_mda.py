"""The minimum-diameter average by its definition and by ByzFL."""

from math import comb

import byzfl
import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.mda import first_without_conflict
from fedsim.errors import ConfigError
from support.aggregation import context_of
from support.distance_references import mda
from support.references import random_rows


@pytest.mark.parametrize(("clients", "f"), [(5, 1), (5, 2), (9, 3), (10, 4), (12, 3)])
def test_mda_equals_byzfl(clients: int, f: int) -> None:
    for seed in range(3):
        rows = random_rows(clients, 30, seed=seed)
        ours = build_aggregator("mda", num_byzantine=f)(rows)
        torch.testing.assert_close(ours, byzfl.MDA(f)(rows), rtol=1e-5, atol=1e-6)


def test_mda_takes_the_first_of_equally_wide_sets_by_client_id() -> None:
    """On a grid many sets have the same diameter; the definition's own enumeration finds the first."""
    for seed in range(30):
        rows = torch.randint(-2, 3, (9, 3), generator=torch.Generator().manual_seed(seed)).float()
        ids = torch.randperm(50, generator=torch.Generator().manual_seed(seed))[:9].tolist()
        by_id = sorted(range(9), key=ids.__getitem__)
        for f in (1, 2, 4):
            step = build_aggregator("mda", num_byzantine=f)(rows, context_of(ids))
            torch.testing.assert_close(step.double(), mda(rows[by_id], f), rtol=1e-6, atol=1e-7)


def test_leaving_out_as_few_as_possible_is_not_enough_the_first_answer_counts() -> None:
    apart = torch.zeros(5, 5, dtype=torch.bool)
    apart[0, 3] = apart[0, 4] = apart[3, 0] = apart[4, 0] = True
    conflicts = apart.tolist()
    assert first_without_conflict(list(range(5)), conflicts, 0) is None
    assert first_without_conflict(list(range(5)), conflicts, 1) == [1, 2, 3, 4]
    assert first_without_conflict(list(range(5)), conflicts, 2) == [0, 1, 2]


@pytest.mark.parametrize(("clients", "largest"), [(22, 10), (23, 9), (50, 4), (182, 3), (2000, 1)])
def test_mda_allows_a_million_subsets(clients: int, largest: int) -> None:
    assert comb(clients, largest) <= 10**6
    assert largest == (clients - 1) // 2 or comb(clients, largest + 1) > 10**6
    build_aggregator("mda", num_byzantine=largest).check(clients)
    with pytest.raises(ConfigError, match=f"the most it allows is {largest}"):
        build_aggregator("mda", num_byzantine=largest + 1).check(clients)


@pytest.mark.parametrize("clients", [22, 50])
def test_mda_leaves_out_the_outliers_of_many_clients_and_reports_its_f(clients: int) -> None:
    aggregator = build_aggregator("mda")
    f = 10 if clients == 22 else 4
    rows = random_rows(clients, 60, shift=3.0)
    rows[::2][:f] *= -1  # the outliers agree with each other
    step = aggregator(rows)
    assert aggregator.diagnostics.scalars["num_byzantine"] == f
    honest = [row for row in range(clients) if row % 2 or row >= 2 * f]
    torch.testing.assert_close(step.double(), rows[honest].double().mean(0), rtol=1e-6, atol=1e-6)
