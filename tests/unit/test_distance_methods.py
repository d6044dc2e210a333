"""The methods that decide by distances between rows, and the pre-aggregators, by their definitions and by ByzFL.

ByzFL is no yardstick everywhere: its Multi-Krum sums one neighbour more than the paper, its distances of more
than 25 rows lose accuracy, its CAF fails at f = 0, finds its eigenvector by one step from a random start and
compares with the largest deviation even where that client has no weight left.
"""

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb

import byzfl
import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.aggregators.caf import filter_weights
from fedsim.aggregators.mda import first_without_conflict
from fedsim.aggregators.meamed import mean_around_median
from fedsim.aggregators.pre import PreAggregator, pre_aggregators
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import smallest
from fedsim.updates.sharded import ColumnShards
from support.references import direct_squared_distances, random_rows

WIDE = 100_001
LARGEST_F: dict[str, Callable[[int], int]] = {
    "multi_krum": lambda clients: max(0, (clients - 3) // 2),
    "bulyan": lambda clients: max(0, (clients - 3) // 4),
    "meamed": lambda clients: (clients - 1) // 2,
    "mda": lambda clients: (clients - 1) // 2,
    "caf": lambda clients: (clients - 1) // 2,
}
AGGREGATORS = sorted(LARGEST_F)
PRE = ["nnm", "bucketing", "clipping", "arc"]


def context_of(ids: Sequence[int], round_number: int = 0, dropped: int = 0) -> RoundContext:
    generator = torch.Generator().manual_seed(round_number)
    return RoundContext(round=round_number, client_ids=tuple(ids), dropped=dropped, generator=generator)


def transform(pre: PreAggregator, rows: Tensor | UpdateMatrix, context: RoundContext | None = None) -> Tensor:
    updates = UpdateMatrix.of(rows)
    return pre(updates, context or context_of(range(updates.num_rows)))[0].tensor()


# The definitions, slowly and in float64 ------------------------------------------------------------


def krum_scores(distances: list[list[float]], rows: Sequence[int], f: int) -> dict[int, float]:
    neighbours = max(1, len(rows) - f - 2)
    return {i: sum(sorted(distances[i][j] for j in rows if j != i)[:neighbours]) for i in rows}


def multi_krum(rows: Tensor, f: int, num_selected: int | None = None) -> Tensor:
    scores = krum_scores(direct_squared_distances(rows).tolist(), range(len(rows)), f)
    best = sorted(scores, key=lambda row: (scores[row], row))[: num_selected or len(rows) - f]
    return rows[best].double().mean(0)


def nearest_the_median(column: list[float], count: int) -> float:
    median = sorted(column)[(len(column) - 1) // 2]
    return sum(sorted(column, key=lambda value: (abs(value - median), value))[:count]) / count


def meamed(rows: Tensor, f: int) -> Tensor:
    columns = rows.double().T.tolist()
    return torch.tensor([nearest_the_median(column, len(rows) - f) for column in columns], dtype=torch.float64)


def bulyan(rows: Tensor, f: int) -> Tensor:
    distances = direct_squared_distances(rows).tolist()
    left, selected = list(range(len(rows))), []
    while len(selected) < len(rows) - 2 * f:
        scores = krum_scores(distances, left, f)
        best = min(left, key=lambda row: (scores[row], row))
        left.remove(best)
        selected.append(best)
    return meamed(rows[selected], 2 * f)


def mda(rows: Tensor, f: int) -> Tensor:
    distances = direct_squared_distances(rows).tolist()
    subsets = combinations(range(len(rows)), len(rows) - f)
    best = min(subsets, key=lambda subset: max((distances[i][j] for i, j in combinations(subset, 2)), default=0.0))
    return rows[list(best)].double().mean(0)


def caf(rows: Tensor, f: int, largest_of_all: bool = False) -> Tensor:
    """With the D x D covariance; the maximum over the clients with weight, or over all as in ByzFL."""
    g = rows.double().numpy()
    c, best, smallest_variance = np.ones(len(g)), g.mean(0), np.inf
    while c.sum() > len(g) - 2 * f:
        m = c @ g / c.sum()
        values, vectors = np.linalg.eigh((g - m).T @ np.diag(c) @ (g - m) / c.sum())
        if values[-1] < smallest_variance:
            best, smallest_variance = m, values[-1]
        tau = ((g - m) @ vectors[:, -1]) ** 2
        largest = tau.max() if largest_of_all else tau[c > 0].max()
        if largest == 0:
            break
        c = c * np.clip(1 - tau / largest, 0, None)
    return torch.from_numpy(best)


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
def test_left_out_f_is_the_largest_allowed_and_more_is_a_config_error(clients: int, name: str) -> None:
    largest = LARGEST_F[name](clients)
    rows = random_rows(clients, 33)
    given = build_aggregator(name, num_byzantine=largest)
    given.check(clients)
    assert torch.equal(build_aggregator(name)(rows), given(rows))
    with pytest.raises(ConfigError, match=f"the most it allows is {largest}") as caught:
        build_aggregator(name, num_byzantine=largest + 1).check(clients)
    assert caught.value.key == "num_byzantine"


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_dropped_client_counts_against_f(name: str) -> None:
    rows = random_rows(11, 33)
    rows[8:] += 2
    step = build_aggregator(name, num_byzantine=2)(rows, context_of(range(11), dropped=1))
    assert torch.equal(step, build_aggregator(name, num_byzantine=1)(rows))
    assert not torch.equal(step, build_aggregator(name, num_byzantine=2)(rows))


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("clients", [5, 11])
def test_whole_and_three_shards_agree(clients: int, name: str) -> None:
    rows = random_rows(clients, WIDE)
    cut = ColumnShards.cut(rows, 3)
    assert len(cut._shards) == 3
    one, other = build_aggregator(name)(rows), build_aggregator(name)(cut)
    torch.testing.assert_close(one, other, rtol=0 if name != "caf" else 1e-6, atol=0 if name != "caf" else 1e-7)


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


# Choosing the smallest -----------------------------------------------------------------------------


def test_smallest_breaks_ties_by_id_and_forgives_rounding() -> None:
    values = torch.tensor([3.0, 1.0, 3.0 * (1 - 1e-14), 2.0, 3.0], dtype=torch.float64)
    assert smallest(values, 3, [9, 8, 7, 6, 5]).tolist() == [False, True, False, True, True]
    assert smallest(values, 4, [9, 8, 7, 6, 5]).tolist() == [False, True, True, True, True]
    assert smallest(values, 4, [7, 8, 9, 6, 5]).tolist() == [True, True, False, True, True]
    assert smallest(values - 1e-9 * values.eq(3), 3, [9, 8, 7, 6, 5]).tolist() == [False, True, False, True, True]
    assert smallest(torch.zeros(2, 3), 1, [2, 0, 1]).tolist() == [[False, True, False]] * 2
    assert smallest(values, 5, range(5)).all()


# Multi-Krum ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [1, 2, 3])
@pytest.mark.parametrize("clients", [9, 14, 20])
def test_multi_krum_equals_byzfl_which_sums_one_neighbour_more(clients: int, f: int) -> None:
    for seed in range(4):
        rows = random_rows(clients, 50, seed=seed)
        ours = build_aggregator("multi_krum", num_byzantine=f - 1, num_selected=clients - f)(rows)
        torch.testing.assert_close(ours, byzfl.MultiKrum(f)(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_selected", [1, 3, 8])
def test_multi_krum_averages_as_many_as_it_is_told(num_selected: int) -> None:
    rows = random_rows(8, 30)
    step = build_aggregator("multi_krum", num_byzantine=2, num_selected=num_selected)(rows)
    torch.testing.assert_close(step.double(), multi_krum(rows, 2, num_selected), rtol=1e-6, atol=1e-7)
    if num_selected == 1:
        assert torch.equal(step, build_aggregator("krum", num_byzantine=2)(rows))


def test_multi_krum_cannot_select_more_than_all() -> None:
    with pytest.raises(ConfigError, match="9 is more than the 8 clients") as caught:
        build_aggregator("multi_krum", num_selected=9).check(8)
    assert caught.value.key == "num_selected"
    build_aggregator("multi_krum", num_selected=8).check(8)
    rows = random_rows(3, 10)  # absent clients may leave fewer
    torch.testing.assert_close(build_aggregator("multi_krum", num_selected=8)(rows), rows.mean(0))
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="num_selected"):
            build_aggregator("multi_krum", num_selected=wrong)


def test_multi_krum_breaks_a_tie_by_the_lower_client_id() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    method = build_aggregator("multi_krum", num_selected=2)
    assert method(rows, context_of([40, 10, 30, 20])).tolist() == [-0.5, -0.5]
    assert method(rows, context_of([1, 2, 3, 4])).tolist() == [0.0, 0.0]


# Mean around the median ----------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [1, 2, 3, 4, 7, 8, 31, 32, 33, 40])
def test_mean_around_the_median_for_every_count_with_and_without_ties(clients: int) -> None:
    """Also for fewer than half of the values, as Bulyan needs it."""
    generator = torch.Generator().manual_seed(clients)
    integers = torch.randint(-4, 5, (clients, 60), generator=generator).float()
    for rows in (integers, random_rows(clients, 60)):
        for count in range(1, clients + 1):
            found = mean_around_median(UpdateMatrix(rows.double()), count)
            torch.testing.assert_close(found, meamed(rows, clients - count), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("clients", [5, 9, 33])
def test_meamed_equals_byzfl(clients: int) -> None:
    rows = random_rows(clients, 200)
    for f in range((clients - 1) // 2 + 1):
        ours = build_aggregator("meamed", num_byzantine=f)(rows)
        theirs = byzfl.Meamed(f)(rows.numpy())  # values equally far from the median occur at no coordinate here
        torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-5, atol=1e-6)


def test_of_two_values_equally_far_from_the_median_the_smaller_is_nearer() -> None:
    rows = torch.tensor([[2.0], [1.0], [3.0], [9.0]])
    assert mean_around_median(UpdateMatrix(rows), 2).item() == 1.5
    assert mean_around_median(UpdateMatrix(rows.flip(0)), 2).item() == 1.5
    assert mean_around_median(UpdateMatrix(-rows), 2).item() == -2.5  # the lower median of an even number is -3


# Bulyan --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clients", "f"), [(3, 0), (6, 0), (7, 1), (10, 1), (11, 2), (50, 11)])
def test_bulyan_reports_the_f_it_used(clients: int, f: int) -> None:
    aggregator = build_aggregator("bulyan")
    rows = random_rows(clients, 20)
    step = aggregator(rows)
    assert aggregator.diagnostics.scalars["num_byzantine"] == f
    assert aggregator.diagnostics.per_client["selected"].sum() == clients - 2 * f
    torch.testing.assert_close(step.double(), bulyan(rows, f), rtol=1e-6, atol=1e-7)


def test_bulyan_recomputes_the_scores_on_what_remains() -> None:
    """The five best at once are the small ones; once they are few, the far pair has the nearest neighbours."""
    rows = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [30.0], [31.0]])
    aggregator = build_aggregator("bulyan", num_byzantine=1)
    step = aggregator(rows)
    torch.testing.assert_close(step.double(), bulyan(rows, 1), rtol=1e-6, atol=1e-7)
    at_once = build_aggregator("multi_krum", num_byzantine=1, num_selected=5)
    at_once(rows)
    assert at_once.diagnostics.per_client["selected"].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert aggregator.diagnostics.per_client["selected"][5:].sum() == 1


# Minimum diameter ----------------------------------------------------------------------------------


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


# The covariance filter -----------------------------------------------------------------------------


@pytest.mark.parametrize("f", [1, 2, 3])
def test_the_definition_of_caf_equals_byzfl_but_for_the_clients_without_weight(f: int) -> None:
    """On one column ByzFL's eigenvector is exact. So the reference above is what CAF is, and ours equals it."""
    filtered = 0
    for seed in range(5):
        rows = torch.randn(15, 1, generator=torch.Generator().manual_seed(seed))
        rows[:f] += 3
        torch.testing.assert_close(
            caf(rows, f, largest_of_all=True).float(), byzfl.CAF(f)(rows), rtol=1e-4, atol=1e-5
        )
        step = build_aggregator("caf", num_byzantine=f)(rows)
        torch.testing.assert_close(step.double(), caf(rows, f), rtol=1e-6, atol=1e-7)
        filtered += abs(step - rows.mean(0)).item() > 0.01
    assert filtered >= 3


def test_caf_with_no_byzantine_client_is_the_mean() -> None:
    rows = random_rows(6, 30)
    torch.testing.assert_close(build_aggregator("caf", num_byzantine=0)(rows), rows.mean(0))


def test_caf_by_hand() -> None:
    """Of 0, 0, 0, 4 about their mean 1: tau = 1, 1, 1, 9; then c = 8/9, 8/9, 8/9, 0 and no variance is left."""
    squared_distances = torch.tensor([[0.0, 0, 0, 16], [0, 0, 0, 16], [0, 0, 0, 16], [16, 16, 16, 0]]).double()
    expected = torch.tensor([8 / 9, 8 / 9, 8 / 9, 0]).double()
    torch.testing.assert_close(filter_weights(squared_distances, 1), expected)


def test_a_huge_client_without_weight_does_not_hold_the_filter_up() -> None:
    """Once it weighs nothing it must not be the maximum that the others are compared with."""
    rows = random_rows(9, 20, seed=4)
    rows[0] *= 1e12
    rows[1] += 4
    step = build_aggregator("caf", num_byzantine=4)(rows)
    torch.testing.assert_close(step.double(), caf(rows, 4), rtol=1e-5, atol=1e-6)
    aggregator = build_aggregator("caf", num_byzantine=4)
    aggregator(rows)
    assert aggregator.diagnostics.per_client["weight"][:2].tolist() == [0.0, 0.0]


def ring(corners: int, radius: float) -> Tensor:
    """A regular polygon, whose variance is the same in every direction."""
    angles = 2 * torch.pi * torch.arange(corners).double() / corners + radius
    return radius * torch.stack([angles.cos(), angles.sin()], dim=1)


def equal_byzantine_rows(seed: int) -> Tensor:
    rows = random_rows(11, 7, seed=seed).double()
    rows[2:5] = 2.5 * rows[2]
    rows[8:10] = -2 * rows[8]
    return rows


CLOSE_CALLS = {
    "no single direction": (torch.cat([ring(3, 1), ring(3, 3), ring(3, 0.2)]), 1),
    "no single direction for long": (torch.cat([ring(5, 1), ring(5, 3), ring(3, 0.2)]), 3),
    "equal rows far out": (equal_byzantine_rows(2), 4),
    "equal rows far out again": (equal_byzantine_rows(4), 3),
    "the sum of the weights is K-2f": (equal_byzantine_rows(0)[[0] * 8 + [1] * 4], 3),
}


@pytest.mark.parametrize("case", CLOSE_CALLS)
def test_caf_does_not_decide_by_the_rounding_of_the_distances(case: str) -> None:
    rows, f = CLOSE_CALLS[case]
    distances = direct_squared_distances(rows)
    expected = filter_weights(distances, f)
    for seed in range(8):
        noise = 1e-15 * torch.randn(distances.shape, generator=torch.Generator().manual_seed(seed)).double()
        found = filter_weights(distances * (1 + noise + noise.T), f)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_caf_of_two_far_heaps_takes_the_larger_one() -> None:
    rows = torch.cat([torch.full((3, 4), 1e20), 1e-3 * torch.ones(4, 4)])
    assert torch.equal(build_aggregator("caf")(rows), rows[-1])


# Pre-aggregators -----------------------------------------------------------------------------------


def nnm(rows: Tensor, f: int) -> Tensor:
    distances = direct_squared_distances(rows).tolist()
    mixed = []
    for row, of_row in enumerate(distances):
        nearest = sorted(range(len(rows)), key=lambda other: (other != row, of_row[other], other))  # itself first
        mixed.append(rows[nearest[: len(rows) - f]].double().mean(0))
    return torch.stack(mixed)


def arc(rows: Tensor, f: int) -> Tensor:
    norms = rows.double().norm(dim=1)
    clipped = (2 * f * (len(rows) - f)) // len(rows)
    by_norm = sorted(range(len(rows)), key=lambda row: -float(norms[row]))
    radius = norms[by_norm[clipped]]
    result = rows.double().clone()
    for row in by_norm[:clipped]:
        if norms[row] > radius:
            result[row] *= radius / norms[row]
    return result


@pytest.mark.parametrize(("name", "definition"), [("nnm", nnm), ("arc", arc)])
@pytest.mark.parametrize("clients", [1, 2, 3, 4, 6, 7, 10, 25])
def test_mixing_and_adaptive_clipping_equal_the_definition_for_every_f(
    clients: int, name: str, definition: Callable[[Tensor, int], Tensor]
) -> None:
    for f in range((clients - 1) // 2 + 1):
        rows = random_rows(clients, 21, seed=f) * torch.linspace(0.5, 3, clients)[:, None]
        found = transform(pre_aggregators.build(name, num_byzantine=f), rows)
        torch.testing.assert_close(found.double(), definition(rows, f), rtol=1e-6, atol=1e-6)
    left_out = transform(pre_aggregators.build(name), rows)
    assert torch.equal(left_out, found)  # the last f was the largest


def test_pre_aggregators_equal_byzfl() -> None:
    for clients in (5, 9, 14, 20):
        rows = random_rows(clients, 50, seed=clients) * torch.linspace(0.5, 3, clients)[:, None]
        same: list[tuple[str, dict[str, float], Callable[[Tensor], Tensor]]] = []
        for f in range((clients - 1) // 2 + 1):
            same.append(("nnm", {"num_byzantine": f}, byzfl.NNM(f)))
            same.append(("arc", {"num_byzantine": f}, byzfl.ARC(f)))
        same += [("clipping", {"radius": radius}, byzfl.Clipping(radius)) for radius in (0.5, 6.0, 1000.0)]
        for name, settings, theirs in same:
            ours = transform(pre_aggregators.build(name, **settings), rows)
            torch.testing.assert_close(ours, theirs(rows.clone()), rtol=1e-5, atol=1e-5)


def test_arc_clips_to_the_next_largest_norm() -> None:
    """2 f (K - f) / K = 16 for f = 10, K = 50."""
    rows = torch.arange(1.0, 51.0)[:, None]
    found = transform(pre_aggregators.build("arc", num_byzantine=10), rows).flatten()
    assert found.tolist() == [*range(1, 35), *[34.0] * 16]


@pytest.mark.parametrize("name", ["nnm", "arc"])
def test_tolerant_pre_aggregators_refuse_half_and_count_dropped_clients(name: str) -> None:
    rows = random_rows(7, 9) * torch.linspace(0.5, 3, 7)[:, None]
    with pytest.raises(ConfigError, match="the most it allows is 3"):
        pre_aggregators.build(name, num_byzantine=4).check(7)
    pre_aggregators.build(name, num_byzantine=3).check(7)
    found = transform(pre_aggregators.build(name, num_byzantine=2), rows, context_of(range(7), dropped=1))
    assert torch.equal(found, transform(pre_aggregators.build(name, num_byzantine=1), rows))
    assert not torch.equal(found, transform(pre_aggregators.build(name, num_byzantine=2), rows))


@pytest.mark.parametrize("name", PRE)
def test_pre_aggregators_on_whole_and_cut_matrices_and_inputs_unchanged(name: str) -> None:
    rows = random_rows(7, WIDE) * torch.linspace(0.001, 3, 7)[:, None]
    before = rows.clone()
    one = transform(pre_aggregators.build(name), rows)
    other = transform(pre_aggregators.build(name), ColumnShards.cut(rows, 3))
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert torch.equal(rows, before)
    assert not torch.equal(one[: len(rows)], rows[: len(one)])


@pytest.mark.parametrize("name", PRE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1), (2, 5), (3, 1), (40, 3)])
def test_pre_aggregators_of_few_zero_and_identical_rows(
    shape: tuple[int, int], dtype: torch.dtype, name: str
) -> None:
    pre = pre_aggregators.build(name)
    pre.check(shape[0])
    count = pre.rows_after(shape[0])
    for rows in (torch.zeros(shape), torch.linspace(0.1, 0.9, shape[1]).expand(shape), 0.1 * random_rows(*shape)):
        found = transform(pre, rows.to(dtype))
        assert found.dtype == dtype
        assert found.shape == (count, shape[1])
        assert bool(found.isfinite().all())
        if bool((rows == rows[0]).all()):
            torch.testing.assert_close(found, rows[:count].to(dtype))


@pytest.mark.parametrize("name", ["nnm", "clipping", "arc"])
def test_what_replaces_a_row_keeps_its_place_and_its_client(name: str) -> None:
    rows = random_rows(9, 20) * torch.linspace(0.5, 3, 9)[:, None]
    ids = [30, 2, 7, 15, 1, 9, 44, 3, 8]
    pre = pre_aggregators.build(name)
    context = context_of(ids, round_number=4, dropped=2)
    mixed, after = pre(UpdateMatrix(rows), context)
    assert after == context
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5)).tolist()
    permuted = transform(pre, rows[order], context_of([ids[row] for row in order], dropped=2))
    torch.testing.assert_close(permuted, mixed.tensor()[order], rtol=1e-6, atol=1e-6)


def test_nnm_takes_the_row_itself_first_and_then_the_lower_ids() -> None:
    rows = torch.tensor([[0.0], [1.0], [-1.0], [1.0]])
    pre = pre_aggregators.build("nnm", num_byzantine=1)
    row_of_zero = {(0, 1, 2, 3): 0.0, (3, 2, 1, 0): 0.0, (0, 1, 3, 2): 2 / 3}
    for ids, expected in row_of_zero.items():
        assert transform(pre, rows, context_of(ids))[0].item() == pytest.approx(expected)
    far_twins = torch.tensor([[5.0], [5.0], [5.0], [6.0]])
    assert transform(pre, far_twins, context_of([3, 2, 1, 0]))[3].item() == pytest.approx(16 / 3)


@pytest.mark.parametrize("name", ["nnm", "arc"])
def test_honest_rows_stay_right_beside_a_row_at_1e20(name: str) -> None:
    rows = torch.cat([1e-3 * random_rows(6, 501), torch.full((1, 501), 1e20)])
    found = transform(pre_aggregators.build(name, num_byzantine=1), rows).double()
    expected = {"nnm": nnm, "arc": arc}[name](rows, 1)
    torch.testing.assert_close(found[:6], expected[:6], rtol=1e-5, atol=1e-10)
    torch.testing.assert_close(found[6], expected[6], rtol=1e-5, atol=0)


def test_clipping_at_1e20_and_what_it_refuses() -> None:
    rows = torch.tensor([[3e19, 4e19], [1e-3, 0.0], [0.0, 0.0], [0.0, 2.0]])
    found = transform(pre_aggregators.build("clipping", radius=1), rows)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [1e-3, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    for radius in (0, -1.0, "large", float("nan")):
        with pytest.raises(ConfigError, match="radius"):
            pre_aggregators.build("clipping", radius=radius)


# Bucketing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clients", "size"), [(1, 2), (2, 2), (7, 2), (7, 3), (8, 4), (7, 1), (5, 9)])
def test_every_client_is_in_one_bucket_and_only_the_last_is_smaller(clients: int, size: int) -> None:
    """Row k is the unit vector of client k, so that a bucket's mean shows who is in it."""
    pre = pre_aggregators.build("bucketing", bucket_size=size)
    buckets, context = pre(UpdateMatrix(torch.eye(clients)), context_of(range(100, 100 + clients), dropped=1))
    members = buckets.tensor() > 0
    assert members.sum(0).tolist() == [1] * clients
    sizes = members.sum(1)
    assert sizes.tolist() == [min(size, clients - start) for start in range(0, clients, size)]
    torch.testing.assert_close(buckets.tensor().sum(1), torch.ones(len(sizes)))
    assert pre.rows_after(clients) == len(sizes) == byzfl.Bucketing(size)(np.eye(clients)).shape[0]
    assert context.client_ids == tuple(range(len(sizes)))
    assert context.dropped == 1


def test_buckets_change_from_round_to_round_and_depend_on_ids_not_rows() -> None:
    pre = pre_aggregators.build("bucketing")
    rows = random_rows(9, 20)
    ids = [30, 2, 7, 15, 1, 9, 44, 3, 8]
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5)).tolist()
    seen = []
    for number in range(6):
        found = transform(pre, rows, context_of(ids, number))
        assert torch.equal(found, transform(pre, rows, context_of(ids, number)))
        permuted = transform(pre, rows[order], context_of([ids[row] for row in order], number))
        torch.testing.assert_close(permuted, found, rtol=1e-6, atol=1e-6)
        seen.append(found)
    assert all(not torch.allclose(one, other) for one, other in combinations(seen, 2))


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "two"])
def test_an_impossible_bucket_size_is_rejected(size: object) -> None:
    with pytest.raises(ConfigError, match="bucket_size"):
        pre_aggregators.build("bucketing", bucket_size=size)


@pytest.mark.parametrize("pre_name", PRE)
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
