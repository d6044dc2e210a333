"""TIES, sign votes, DETOX, LASA and SignGuard against slow float64 forms of their definitions."""

import copy
import itertools
import math
import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import MeanShift, estimate_bandwidth
from threadpoolctl import threadpool_limits
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.sharded import ColumnShards
from support.references import random_rows

Array = np.ndarray

WIDE = 100_001
LAYOUT = RowLayout({"conv": (2, 2, 2, 2), "bias": (5,), "weight": (4, 6), "gain": (), "cube": (2, 2, 2)})
COLUMNS = LAYOUT.size
NAMES = ["ties", "signsgd_mv", "election_coding", "detox", "lasa", "signguard"]
every_method = pytest.mark.parametrize("name", NAMES)


def context_of(ids: list[int] | range, seed: int = 0, layout: RowLayout | None = None) -> RoundContext:
    return RoundContext(
        round=seed, client_ids=tuple(ids), generator=torch.Generator().manual_seed(seed), layout=layout
    )


def integer_rows(rows: int, columns: int, seed: int) -> Tensor:
    """Rows full of ties and zeros."""
    return torch.randint(-2, 3, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()


def assert_step(step: Tensor, expected: Array, rtol: float = 1e-6) -> None:
    scale = max(1e-30, float(np.abs(expected).max()))
    torch.testing.assert_close(step.double(), torch.from_numpy(expected), rtol=rtol, atol=rtol * scale)


def lower_middle(values: Any) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


# Slow forms ----------------------------------------------------------------------------------------


def ties(rows: Tensor, sparsity: float = 0.9, election: str = "sign") -> Array:
    g = rows.double().numpy()
    limits = [np.quantile(np.abs(row), sparsity) for row in g]
    step = np.zeros(g.shape[1])
    for j in range(g.shape[1]):
        remaining = [float(row[j]) for row, limit in zip(g, limits, strict=True) if abs(row[j]) > limit]
        elected = sign(math.fsum(map(sign, remaining) if election == "sign" else remaining))
        agreeing = [value for value in remaining if value * elected > 0]
        step[j] = math.fsum(agreeing) / len(agreeing) if agreeing else 0.0
    return step


def auto_scale(rows: Tensor) -> float:
    return lower_middle([math.fsum(map(abs, row)) / len(row) for row in rows.double().tolist()])


def majority(rows: Tensor) -> Array:
    return np.array([sign(sum(map(sign, column))) for column in rows.T.tolist()], dtype=float)


def cyclic_election(rows: Tensor, redundancy: int) -> Array:
    count, result = len(rows), []
    for column in rows.T.tolist():
        nodes = [sign(sum(sign(column[(i + o) % count]) for o in range(redundancy))) for i in range(count)]
        result.append(sign(sum(nodes)))
    return np.array(result, dtype=float)


def lasa(
    rows: Tensor, layout: RowLayout, sparsity: float = 0.3, lambda_norm: float = 1.0, lambda_sign: float = 1.0
) -> Array:
    g = rows.double().numpy()
    norms = np.sqrt((g**2).sum(1))
    tau = lower_middle(norms.tolist())
    clipped = [row * (min(1.0, tau / norm) if norm > 0 else 1.0) for row, norm in zip(g, norms, strict=True)]
    clients = []
    for row in clipped:
        tensors = {name: view.numpy().copy() for name, view in layout.views(torch.from_numpy(row)).items()}
        weights = [value for value in tensors.values() if value.ndim in (2, 4)]
        if weights:
            limit = np.quantile(np.abs(np.concatenate([value.ravel() for value in weights])), sparsity)
            for value in weights:
                value[np.abs(value) < limit * (1 - 1e-14)] = 0  # clipping rounds value and limit
        clients.append(tensors)

    def z_scores(values: list[float]) -> Array:
        deviation, spread = np.abs(np.array(values) - np.median(values)), np.std(values)
        return deviation / spread if spread > 1e-12 * max(np.abs(values)) else 0 * deviation

    pieces = []
    for name in layout.shapes:
        layer = [tensors[name].ravel() for tensors in clients]
        lengths, purities = [], []
        for value in layer:
            signs = np.sign(value)
            lengths.append(math.sqrt(math.fsum(value**2)))
            purities.append(0.5 * (1 + signs.sum() / np.abs(signs).sum()) if signs.any() else 0.5)
        good = (z_scores(lengths) < lambda_norm - 1e-9) & (z_scores(purities) < lambda_sign - 1e-9)
        kept = [value for value, keep in zip(layer, good, strict=True) if keep] or layer
        pieces.append(np.mean(kept, axis=0))
    return np.concatenate(pieces)


def signguard(
    rows: Tensor, start: int, width: int, lower: float = 0.1, upper: float = 3.0, both: bool = True
) -> tuple[Array, list[bool]]:
    g = rows.double().numpy()
    norms = np.sqrt((g**2).sum(1))
    median = float(np.median(norms))
    usual = [bool(lower * median < norm < upper * median) for norm in norms]
    window = g[:, start : start + width]
    features = np.array([[(row > 0).mean(), (row == 0).mean(), (row < 0).mean()] for row in window])
    for column in features.T:
        column /= column.max() or 1.0
    labels = [0] * len(g)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bandwidth = estimate_bandwidth(features, quantile=0.5)
        if bandwidth > 1e-7:
            labels = MeanShift(bandwidth=bandwidth, bin_seeding=True).fit(features).labels_.tolist()
    sizes = Counter(labels)
    largest = next(label for label in labels if sizes[label] == max(sizes.values()))
    kept = [norm and label == largest for norm, label in zip(usual, labels, strict=True)]
    kept = kept if any(kept) else usual if any(usual) else [True] * len(g)
    clipped = [row * (median / norm if norm > median else 1.0) for row, norm in zip(g, norms, strict=True)]
    return np.mean([row for row, keep in zip(clipped, kept, strict=True) if keep], axis=0), kept


# TIES ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("election", ["sign", "magnitude"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.97])
@pytest.mark.parametrize("count", [1, 2, 3, 6, 33])
def test_ties_by_its_definition(count: int, sparsity: float, election: str) -> None:
    for seed in range(3):
        rows = random_rows(count, 101, seed=seed)
        step = build_aggregator("ties", sparsity=sparsity, election=election)(rows)
        assert_step(step, ties(rows, sparsity, election))


@pytest.mark.parametrize("election", ["sign", "magnitude"])
def test_ties_with_equal_magnitudes_and_tied_elections(election: str) -> None:
    for seed in range(10):
        rows = integer_rows(6, 40, seed)
        for sparsity in (0.0, 0.2, 0.5):
            aggregator = build_aggregator("ties", sparsity=sparsity, election=election)
            assert_step(aggregator(rows), ties(rows, sparsity, election))


def test_the_two_elections_of_ties_differ_where_few_are_loud() -> None:
    rows = torch.tensor([[1.0, 0.1], [2.0, 0.1], [-4.0, 0.1]])
    assert build_aggregator("ties", sparsity=0.5)(rows).tolist() == [1.5, 0.0]
    assert build_aggregator("ties", sparsity=0.5, election="magnitude")(rows).tolist() == [-4.0, 0.0]


def test_ties_compares_with_the_exact_quantile() -> None:
    """The quantile lies between two neighbouring float32 numbers: the upper one survives."""
    low = torch.tensor(1.0)
    high = low.nextafter(torch.tensor(2.0))
    rows = torch.stack([low, high, low, high])[None]
    assert build_aggregator("ties", sparsity=0.5)(rows).tolist() == [0.0, float(high), 0.0, float(high)]


def test_ties_reports_how_much_of_each_client_agreed() -> None:
    rows = torch.tensor([[3.0, 1.0, 0.1], [2.0, -2.0, 0.1], [1.0, 2.0, 0.1]])
    aggregator = build_aggregator("ties", sparsity=0.3)
    aggregator(rows)
    assert aggregator.diagnostics.per_client["agreed_share"].tolist() == [1.0, 0.5, 1.0]
    assert aggregator.diagnostics.scalars["undecided_share"] == pytest.approx(1 / 3)


# Sign votes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 40])
def test_majority_vote_by_its_definition(count: int) -> None:
    for seed in range(3):
        for rows in (random_rows(count, 61, seed=seed), integer_rows(count, 61, seed)):
            expected = majority(rows)
            assert_step(build_aggregator("signsgd_mv")(rows), expected * auto_scale(rows))
            assert_step(build_aggregator("signsgd_mv", scale=0.01)(rows), expected * 0.01)


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


def test_one_client_cannot_set_the_scale() -> None:
    rows = torch.cat([1e-3 * random_rows(4, 300), torch.full((1, 300), 1e20)])
    for name in ("signsgd_mv", "election_coding"):
        step = build_aggregator(name)(rows)
        expected = majority(rows) if name == "signsgd_mv" else cyclic_election(rows, 3)
        assert_step(step, expected * auto_scale(rows))
        assert float(step.abs().max()) < 1e-2


def test_sign_votes_of_float64_rows_keep_their_digits() -> None:
    rows = random_rows(5, 31).double() / 3
    for name in ("signsgd_mv", "election_coding"):
        step = build_aggregator(name)(rows)
        assert float(step.abs().max()) == pytest.approx(auto_scale(rows), rel=1e-14)


def test_hundreds_of_votes_in_bfloat16_are_counted_exactly() -> None:
    rows = torch.ones(601, 2, dtype=torch.bfloat16)
    rows[300:, 0] = -1
    rows[301:, 1] = -1
    for name in ("signsgd_mv", "election_coding"):
        assert build_aggregator(name, scale=1.0)(rows).tolist() == [-1.0, 1.0]


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
    step = aggregator(rows, context_of(range(count), seed=3))
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
    aggregator, together = build_aggregator("detox", group_size=2, inner="fedavg"), Counter()
    for seed in range(600):
        aggregator(torch.zeros(4, 1), context_of(range(4), seed))
        together.update(map(tuple, groups_of(aggregator)))
    assert len(together) == 6
    assert all(130 < times < 270 for times in together.values())  # 200 on average


def test_detox_passes_the_inner_state_and_trust_on() -> None:
    rounds = [random_rows(7, 40, seed=seed) for seed in range(4)]
    aggregator = build_aggregator("detox", inner="fedseca", group_size=2)
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
    nested = build_aggregator("detox", group_size=1, inner="detox")
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


# LASA ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"sparsity": 0.0}, {"sparsity": 0.8}, {"lambda_norm": 0.4}, {"lambda_sign": 0.4, "lambda_norm": 3.0}],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 33])
def test_lasa_by_its_definition(count: int, settings: dict[str, Any]) -> None:
    for seed in range(4):
        rows = random_rows(count, COLUMNS, seed=seed) * torch.linspace(0.5, 2, count)[:, None]
        step = build_aggregator("lasa", **settings)(rows, context_of(range(count), layout=LAYOUT))
        assert_step(step, lasa(rows, LAYOUT, **settings))


def test_lasa_with_equal_magnitudes_and_zeros() -> None:
    for seed in range(10):
        rows = integer_rows(6, COLUMNS, seed)
        rows[seed % 6] = 0
        step = build_aggregator("lasa")(rows, context_of(range(6), layout=LAYOUT))
        assert_step(step, lasa(rows, LAYOUT))


def test_lasa_without_a_layout_takes_the_row_for_one_weight_layer() -> None:
    rows = random_rows(7, 60)
    assert_step(build_aggregator("lasa")(rows), lasa(rows, RowLayout({"row": (1, 60)})))
    assert_step(build_aggregator("lasa")(rows[:, :1]), lasa(rows[:, :1], RowLayout({"row": (1, 1)})))


@pytest.mark.parametrize("shape", [(60,), (3, 20), (3, 4, 5), (3, 2, 5, 2), (1, 3, 2, 5, 2)])
def test_lasa_sparsifies_tensors_of_dimension_two_and_four_only(shape: tuple[int, ...]) -> None:
    rows = 1 + torch.rand(1, 60, generator=torch.Generator().manual_seed(0))
    step = build_aggregator("lasa", sparsity=0.5)(rows, context_of([0], layout=RowLayout({"tensor": shape})))
    assert int((step == 0).sum()) == (30 if len(shape) in (2, 4) else 0)


def test_lasa_takes_what_lies_behind_the_layout_for_one_more_layer() -> None:
    rows = random_rows(6, COLUMNS + 9)
    whole = RowLayout({**LAYOUT.shapes, "buffers": (9,)})
    step = build_aggregator("lasa")(rows, context_of(range(6), layout=LAYOUT))
    assert_step(step, lasa(rows, whole))


def test_lasa_refuses_a_layout_of_another_row() -> None:
    with pytest.raises(ValueError, match=f"the layout has {COLUMNS} coordinates, the rows have 5"):
        build_aggregator("lasa")(torch.ones(3, 5), context_of(range(3), layout=LAYOUT))


def test_lasa_judges_each_layer_by_itself() -> None:
    """Client 3 sends the first layer against the others, client 0 the second one."""
    layout = RowLayout({"first": (4,), "second": (4,)})
    rows = torch.ones(5, 8)
    rows[3, :4], rows[0, 4:] = -1, -1
    aggregator = build_aggregator("lasa")
    assert aggregator(rows, context_of(range(5), layout=layout)).tolist() == [1.0] * 8
    assert aggregator.diagnostics.trust.tolist() == [0.5, 1.0, 1.0, 0.5, 1.0]


def test_lasa_keeps_both_of_two_clients() -> None:
    """Each is exactly one standard deviation from the median; rounding must not choose one of them."""
    for seed in range(20):
        rows = random_rows(2, COLUMNS, seed=seed) * (1 + seed)
        step = build_aggregator("lasa", sparsity=0.0)(rows, context_of(range(2), layout=LAYOUT))
        norms = rows.double().norm(dim=1, keepdim=True)
        assert_step(step, (rows.double() * (norms.min() / norms)).mean(0).numpy())


def test_lasa_takes_norms_that_differ_by_rounding_for_equal() -> None:
    """The same magnitudes in another order: the norms are equal, but their sums round differently."""
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    orders = [torch.randperm(1000, generator=torch.Generator().manual_seed(seed)) for seed in range(9)]
    rows = torch.stack([values[order] for order in orders])
    rows[4] *= -1
    assert len(set(rows.square().sum(1).tolist())) > 1
    others = rows[[0, 1, 2, 3, 5, 6, 7, 8]]
    assert_step(build_aggregator("lasa", sparsity=0.0)(rows), others.mean(0).numpy(), rtol=1e-12)


def test_lasa_compares_with_the_exact_quantile() -> None:
    """It lies between two neighbouring float32 numbers: only the upper one survives."""
    low = torch.tensor(1.0)
    high = low.nextafter(torch.tensor(2.0))
    assert build_aggregator("lasa", sparsity=0.5)(torch.stack([low, high])[None]).tolist() == [0.0, float(high)]


def test_lasa_beside_a_row_at_1e20() -> None:
    honest = 1e-3 * (1 + 0.1 * random_rows(6, COLUMNS))
    rows = torch.cat([honest[:2], torch.full((1, COLUMNS), -1e20), honest[2:]])
    aggregator = build_aggregator("lasa")
    step = aggregator(rows, context_of(range(7), layout=LAYOUT))
    assert_step(step, lasa(rows, LAYOUT), rtol=1e-5)
    assert aggregator.diagnostics.trust[2] == 0


# SignGuard -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"lower": 0.9, "upper": 1.05}, {"upper": 1e-6, "lower": 0.0}], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 30])
def test_signguard_by_its_definition(count: int, settings: dict[str, Any]) -> None:
    for seed in range(2):
        rows = random_rows(count, 90, seed=seed) + 0.5
        rows[: count // 3] *= -3.5
        aggregator = build_aggregator("signguard", coordinate_share=1.0, **settings)
        expected, kept = signguard(rows, 0, 90, **settings)
        assert_step(aggregator(rows), expected)
        assert aggregator.diagnostics.trust.tolist() == [float(keep) for keep in kept]


def test_signguard_counts_signs_in_one_contiguous_window_drawn_each_round() -> None:
    rows = integer_rows(7, 40, seed=1) + 0.3 * random_rows(7, 40)
    windows = [torch.from_numpy(signguard(rows, start, 4)[0]) for start in range(37)]
    aggregator, seen = build_aggregator("signguard"), set()
    for seed in range(20):
        step = aggregator(rows, context_of(range(7), seed)).double()
        near = [start for start, window in enumerate(windows) if torch.allclose(step, window, rtol=1e-5, atol=1e-6)]
        assert near
        seen.add(near[0])
    assert len(seen) > 3


def test_every_coordinate_can_be_in_the_window_of_signguard() -> None:
    """Clients differ in one coordinate only, the first or the last: sometimes it is seen, mostly not."""
    for column in (0, 9):
        rows = torch.ones(5, 10)
        rows[0, column] = -1
        aggregator, kept = build_aggregator("signguard", coordinate_share=0.1), []
        for seed in range(60):
            aggregator(rows, context_of(range(5), seed))
            kept.append(bool(aggregator.diagnostics.trust[0]))
        assert 0 < kept.count(False) < 20  # 6 on average


def test_signguard_falls_back_to_the_norm_filter_then_to_all() -> None:
    rows = torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [-10.0, -10.0], [-0.01, -0.01]])
    median = math.sqrt(2)
    narrow = build_aggregator("signguard", coordinate_share=1.0, lower=5.0, upper=20.0)(rows)
    assert_step(narrow, np.array([-1.0, -1.0]))  # only the fourth passes the norm filter; it is clipped
    assert float(narrow.norm()) == pytest.approx(median)
    nobody = build_aggregator("signguard", coordinate_share=1.0, lower=15.0, upper=20.0)(rows)
    assert_step(nobody, np.full(2, (3 - 1 - 0.01) / 5))


def test_signguard_uses_the_usual_median() -> None:
    rows = torch.tensor([[1.0], [2.0], [4.0], [5.0]])
    assert build_aggregator("signguard")(rows).item() == pytest.approx((1 + 2 + 3 + 3) / 4)


@pytest.mark.parametrize("ids", [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2], [3, 4, 2, 1]])
def test_signguard_breaks_a_tie_of_clusters_by_the_lowest_client_id(ids: list[int]) -> None:
    """Two pairs, and a fifth client without whom the bandwidth would be zero."""
    rows = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, -1.0], [1.0, -1.0]])
    aggregator = build_aggregator("signguard", coordinate_share=1.0)
    aggregator(rows, context_of([*ids, 90]))
    first_pair = min(ids) in ids[:2]
    assert aggregator.diagnostics.trust.tolist() == [first_pair, first_pair, not first_pair, not first_pair, 0]


def test_signguard_takes_nearly_equal_shares_of_signs_for_one_cluster_or_clusters_them() -> None:
    """Tiny bandwidths must neither fail in scikit-learn nor warn."""
    for flips in (1, 2, 50):
        rows = torch.ones(40, 60_000)
        rows[0, :flips] = -1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            step = build_aggregator("signguard", coordinate_share=1.0)(rows)
        assert bool((step > 0.9).all())


def test_signguard_does_not_read_the_rows_that_it_leaves_out() -> None:
    honest = 1e-3 * (1 + 0.1 * random_rows(6, 101))
    rows = torch.cat([honest[:3], torch.full((1, 101), 1e20), honest[3:]])
    step = build_aggregator("signguard", coordinate_share=1.0)(rows)
    assert_step(step, signguard(rows, 0, 101)[0], rtol=1e-5)
    assert float(step.abs().max()) < 2e-3


# All of them ---------------------------------------------------------------------------------------


@every_method
def test_whole_and_three_shards_agree(name: str) -> None:
    rows = random_rows(6, WIDE)
    cut = ColumnShards.cut(rows, 3)
    assert len(cut._shards) == 3
    layout = RowLayout({"a": (3, 10_000), "b": (1,), "c": (10, 5, 20, 10), "d": (10_000,)})
    facts = [context_of(range(6), layout=layout) for _ in range(2)]
    one, other = build_aggregator(name)(rows, facts[0]), build_aggregator(name)(cut, facts[1])
    if name in ("lasa", "signguard"):  # these sum squares in another order
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)
    else:
        assert torch.equal(one, other)


@pytest.mark.parametrize("vote", ["median", "mean"])
def test_votes_of_detox_over_shards(vote: str) -> None:
    rows = random_rows(5, WIDE)
    steps = [
        build_aggregator("detox", vote=vote, inner="krum")(form, context_of(range(5)))
        for form in (rows, ColumnShards.cut(rows, 3))
    ]
    assert torch.equal(steps[0], steps[1])


@every_method
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 6), (2, 6), (4, 6)])
def test_zero_and_identical_rows_of_any_size(name: str, shape: tuple[int, int]) -> None:
    count, columns = shape
    assert torch.equal(build_aggregator(name)(torch.zeros(shape)), torch.zeros(columns))
    row = torch.tensor([-5.0, 3.0, 0.0, 1.0, 0.5, -2.0])[:columns]
    step = build_aggregator(name)(row.expand(count, -1))
    expected = {
        "ties": torch.where(row.abs() > np.quantile(row.abs(), 0.9), row, 0),
        "signsgd_mv": row.sign() * row.abs().mean(),
        "election_coding": row.sign() * row.abs().mean(),
        "lasa": torch.where(row.abs() < np.quantile(row.abs(), 0.3), 0, row),
    }.get(name, row)
    torch.testing.assert_close(step, expected)


@every_method
def test_a_zero_row_among_others_gives_numbers(name: str) -> None:
    rows = torch.cat([torch.zeros(3, 30), random_rows(2, 30)])
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 1, 2]):
        assert bool(build_aggregator(name)(rows[order]).isfinite().all())


@every_method
def test_rows_mixed_by_a_pre_aggregator_count_as_rows(name: str) -> None:
    rows = random_rows(6, COLUMNS)
    weights = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixed = UpdateMatrix(rows).mix(weights)
    steps = [
        build_aggregator(name)(form, context_of(range(5), layout=LAYOUT)) for form in (mixed, mixed.tensor().clone())
    ]
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-6, atol=1e-7)


@every_method
def test_a_client_that_sends_nan_is_as_if_absent(name: str) -> None:
    rows = random_rows(6, COLUMNS)
    rows[4, 3] = torch.nan
    ids, kept = [9, 4, 7, 1, 2, 30], [0, 1, 2, 3, 5]
    with pytest.warns(FedsimWarning, match=r"clients \[2\]"):
        step = build_aggregator(name)(rows, context_of(ids, layout=LAYOUT))
    alone = build_aggregator(name)(rows[kept], context_of([ids[row] for row in kept], layout=LAYOUT))
    assert torch.equal(step, alone)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ties", {"sparsity": 1.0}),
        ("ties", {"election": "mass"}),
        ("signsgd_mv", {"scale": 0.0}),
        ("signsgd_mv", {"scale": "automatic"}),
        ("election_coding", {"redundancy": 2}),
        ("election_coding", {"redundancy": 0}),
        ("election_coding", {"assignment": "random"}),
        ("detox", {"group_size": 0}),
        ("detox", {"vote": "mode"}),
        ("detox", {"inner": "cwmedian"}),
        ("lasa", {"sparsity": -0.1}),
        ("lasa", {"lambda_norm": 0.0}),
        ("lasa", {"lambda_sign": 0.0}),
        ("signguard", {"lower": 3.0}),
        ("signguard", {"upper": 0.0}),
        ("signguard", {"coordinate_share": 0.0}),
        ("signguard", {"coordinate_share": 1.1}),
    ],
    ids=str,
)
def test_impossible_settings_are_refused_by_name(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_aggregator(name, **settings)
    assert [caught.value.key] == list(settings)


def test_detox_names_the_nearest_inner_rule() -> None:
    with pytest.raises(ConfigError, match=r"inner: unknown aggregator 'cwmedd'; did you mean 'cwmed'"):
        build_aggregator("detox", inner="cwmedd")
