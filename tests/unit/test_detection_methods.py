"""COPOD-DOS, FLDetector, RFFL and RobustTailor against slow forms of their definitions, and pyod."""

import copy
import io
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pyod.models.copod import COPOD
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.aggregators.copod_dos import copod_scores, cosine_distances
from fedsim.aggregators.fldetector import hessian_times, suspicious
from fedsim.aggregators.robust_tailor import play
from fedsim.attacks import attacks, available_attacks
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.sharded import ColumnShards
from support.references import direct_squared_distances, krum, median, random_rows, trimmed_mean

NAMES = ["copod_dos", "fldetector", "rffl", "robust_tailor"]
STATEFUL: list[tuple[str, dict[str, Any]]] = [
    ("fldetector", {"window": 2}),
    ("rffl", {"warmup_rounds": 1, "fade": 0.3}),
    ("robust_tailor", {"pool": ["cwmed", "centered_clipping"]}),
]


def random_vectors(count: int, columns: int, seed: int) -> Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def context_of(ids: Sequence[int], number: int = 0, last_step: Tensor | None = None) -> RoundContext:
    return RoundContext(
        round=number,
        client_ids=tuple(ids),
        last_step=last_step,
        generator=torch.Generator().manual_seed(100 + number),
    )


def run_rounds(
    aggregator: Any,
    rounds: Sequence[Tensor],
    ids: Sequence[Sequence[int]],
    last: Tensor | None = None,
    first: int = 0,
) -> list[Tensor]:
    """The steps of several rounds, each told the one before."""
    steps = []
    for number, (rows, clients) in enumerate(zip(rounds, ids, strict=True), start=first):
        last = aggregator(rows, context_of(clients, number, last)).clone()
        steps.append(last)
    return steps


# COPOD-DOS -----------------------------------------------------------------------------------------


def unit_cosine_distances(rows: Tensor) -> Tensor:
    """1 - cosine, pair by pair in float64; 1 beside a zero row, 0 on the diagonal."""
    wide, count = rows.double(), len(rows)
    distances = torch.zeros(count, count, dtype=torch.float64)
    for i, j in itertools.permutations(range(count), 2):
        lengths = float(wide[i].norm() * wide[j].norm())
        distances[i, j] = 1 - float(wide[i] @ wide[j]) / lengths if lengths else 1.0
    return distances


def copod_dos_step(rows: Tensor) -> Tensor:
    """The definition, scored by pyod."""
    euclidean = COPOD().fit(direct_squared_distances(rows).sqrt().numpy()).decision_scores_
    cosine = COPOD().fit(unit_cosine_distances(rows).numpy()).decision_scores_
    odds = np.exp(-(euclidean + cosine))
    return torch.from_numpy(odds / odds.sum()) @ rows.double()


@pytest.mark.parametrize(("samples", "columns"), [(3, 1), (3, 3), (5, 2), (6, 6), (40, 7), (50, 50)])
def test_copod_scores_equal_pyod(samples: int, columns: int) -> None:
    for seed in range(4):
        values = random_vectors(samples, columns, seed).exp()  # more than two: pyod rounds the skewness 0 of a pair
        expected = torch.from_numpy(COPOD().fit(values.numpy()).decision_scores_)
        torch.testing.assert_close(copod_scores(values), expected, rtol=1e-12, atol=1e-12)


def test_copod_scores_equal_pyod_with_ties() -> None:
    for seed in range(20):
        values = torch.randint(0, 4, (7, 5), generator=torch.Generator().manual_seed(seed)).double()
        expected = torch.from_numpy(COPOD().fit(values.numpy()).decision_scores_)
        torch.testing.assert_close(copod_scores(values), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("count", [3, 5, 8, 40])
def test_copod_dos_equals_its_definition_with_pyod(count: int) -> None:
    for seed in range(3):
        rows = random_rows(count, 101, seed=seed)
        step = build_aggregator("copod_dos")(rows)
        torch.testing.assert_close(step.double(), copod_dos_step(rows), rtol=1e-6, atol=1e-7)


def test_copod_dos_counts_a_zero_row_as_orthogonal_to_all() -> None:
    rows = random_rows(6, 50)
    rows[[1, 4]] = 0
    torch.testing.assert_close(cosine_distances(UpdateMatrix(rows)), unit_cosine_distances(rows), rtol=0, atol=1e-14)
    step = build_aggregator("copod_dos")(rows)
    torch.testing.assert_close(step.double(), copod_dos_step(rows), rtol=1e-6, atol=1e-7)


def test_cosine_distances_of_nearly_parallel_rows_do_not_cancel() -> None:
    """Exact: rows (1, e, 0, ...) and (2, 0, 2e, ...) with e = 2^-20 have 1 - cos = 1 - 1/(1 + e^2)."""
    small = 2.0**-20
    rows = torch.tensor([[1.0, small, 0.0], [2.0, 0.0, 2 * small], [1e20, 0.0, 0.0]])
    found = cosine_distances(UpdateMatrix(rows))
    square = small**2
    assert float(found[0, 1]) == pytest.approx(square / (1 + square), rel=1e-6)
    assert float(found[0, 2]) == pytest.approx(square / 2, rel=1e-6)


@pytest.mark.parametrize("columns", [33, 1001])
def test_identical_updates_get_identical_weights(columns: int) -> None:
    """Their distances to the others are equal, but not the rounding of their places in a Gram matrix."""
    for seed in range(4):
        honest, attack = random_rows(8, columns, seed=seed), random_rows(1, columns, seed=99 + seed)
        rows = torch.cat([honest, attack.expand(5, -1)])
        aggregator = build_aggregator("copod_dos")
        aggregator(rows[torch.randperm(13, generator=torch.Generator().manual_seed(seed))])
        aggregator(rows)
        weights = aggregator.diagnostics.per_client["weight"]
        torch.testing.assert_close(weights[8:], weights[8:9].expand(5), rtol=1e-9, atol=0)


def test_parallel_updates_of_different_lengths_tie_in_the_cosine() -> None:
    row = random_rows(1, 1001)
    rows = row.double() * torch.tensor([[1.0], [3.0], [0.7], [1.9], [5.3]]).double()
    aggregator = build_aggregator("copod_dos")
    aggregator(rows)
    assert aggregator.diagnostics.per_client["cosine_score"].tolist() == [0.0] * 5


def test_copod_dos_sees_differences_in_the_seventh_digit() -> None:
    base = 1 + random_rows(1, 1001).abs()
    for seed in range(3):
        rows = base + 1e-6 * random_rows(7, 1001, seed=seed)
        aggregator = build_aggregator("copod_dos")
        aggregator(rows)
        wide = rows.double()
        scaled = wide / wide.norm(dim=1, keepdim=True)
        euclidean = COPOD().fit(direct_squared_distances(rows).sqrt().numpy()).decision_scores_
        cosine = COPOD().fit((direct_squared_distances(scaled) / 2).numpy()).decision_scores_
        found = aggregator.diagnostics.per_client["score"]
        torch.testing.assert_close(found, torch.from_numpy(euclidean + cosine), rtol=1e-9, atol=1e-9)


def test_a_huge_update_has_the_largest_copod_score_and_spoils_no_other() -> None:
    honest = 1e-3 * random_rows(9, 301)
    rows = torch.cat([honest[:4], torch.full((1, 301), 1e20), honest[4:]])
    aggregator = build_aggregator("copod_dos")
    aggregator(rows)
    score = aggregator.diagnostics.per_client["score"]
    assert int(score.argmax()) == 4
    far = torch.cat([honest[:4], torch.full((1, 301), 1e15), honest[4:]])  # as far from everybody, in float64
    aggregator(far)
    torch.testing.assert_close(score, aggregator.diagnostics.per_client["score"], rtol=1e-9, atol=0)


# FLDetector ----------------------------------------------------------------------------------------


def bfgs_matrix(moves: Sequence[Tensor], bends: Sequence[Tensor]) -> Tensor:
    """B from B_0 = sigma I by the BFGS update, pair after pair."""
    scale = (moves[-1] @ bends[-1]) / (moves[-1] @ moves[-1])
    matrix = scale * torch.eye(len(moves[0]), dtype=torch.float64)
    for move, bend in zip(moves, bends, strict=True):
        image = matrix @ move
        matrix = matrix - torch.outer(image, image) / (move @ image) + torch.outer(bend, bend) / (bend @ move)
    return matrix


def curved_pairs(pairs: int, columns: int, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Moves, and bends under a positive definite matrix that changes from pair to pair."""
    moves = random_vectors(pairs, columns, seed)
    bends = []
    for number, move in enumerate(moves):
        root = random_vectors(columns, columns, 50 * seed + number)
        bends.append(root @ root.T @ move + 0.1 * move)
    return list(moves), bends


@pytest.mark.parametrize("pairs", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("columns", [1, 2, 6, 20])
def test_l_bfgs_equals_the_bfgs_recursion(columns: int, pairs: int) -> None:
    for seed in range(3):
        moves, bends = curved_pairs(pairs, columns, seed)
        vector = random_vectors(1, columns, 1000 + seed)[0]
        expected = bfgs_matrix(moves, bends) @ vector
        scale = float(expected.norm())
        torch.testing.assert_close(hessian_times(vector, moves, bends), expected, rtol=1e-5, atol=1e-6 * scale)


def test_l_bfgs_with_pairs_of_very_different_lengths() -> None:
    moves, bends = curved_pairs(3, 6, seed=5)
    lengths = [1e15, 1e-6, 1.0]
    longer = [[length * v for length, v in zip(lengths, group, strict=True)] for group in (moves, bends)]
    vector = random_vectors(1, 6, 8)[0]
    expected = bfgs_matrix(moves, bends) @ vector
    torch.testing.assert_close(hessian_times(vector, *longer), expected, rtol=1e-6, atol=1e-6)


def test_l_bfgs_of_a_singular_system_uses_the_pseudo_inverse() -> None:
    moves = list(torch.eye(4, dtype=torch.float64)[:2])
    bends = [torch.tensor([3.0, 1.0, 0.0, 2.0]).double(), torch.tensor([5.0, 0.0, 7.0, 0.0]).double()]
    vector = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    S, Y = torch.stack(moves, 1).numpy(), torch.stack(bends, 1).numpy()
    A = S.T @ Y
    sigma = float(A[-1, -1])
    assert sigma == 0.0  # the last bend is at right angles to its move
    system = np.block([[sigma * S.T @ S, np.tril(A, -1)], [np.tril(A, -1).T, -np.diag(np.diag(A))]])
    assert np.linalg.matrix_rank(system) < 4
    inner = np.linalg.pinv(system) @ np.concatenate([sigma * S.T @ vector.numpy(), Y.T @ vector.numpy()])
    expected = sigma * vector.numpy() - np.hstack([sigma * S, Y]) @ inner
    assert np.any(expected)
    torch.testing.assert_close(hessian_times(vector, moves, bends), torch.from_numpy(expected))


def cheapest_cut(values: Sequence[float], clusters: int) -> tuple[float, list[list[float]]]:
    """Exact k-means on a line: the best of all ways to cut the sorted values into k runs."""
    ordered, best = sorted(values), (math.inf, [[0.0]])
    for cuts in itertools.combinations(range(1, len(ordered)), clusters - 1):
        runs = [ordered[a:b] for a, b in itertools.pairwise([0, *cuts, len(ordered)])]
        cost = sum(sum((x - sum(run) / len(run)) ** 2 for x in run) for run in runs)
        if cost <= best[0]:
            best = (cost, runs)
    return best


def slow_suspects(scores: Sequence[float], references: Tensor) -> list[bool]:
    """The gap statistic with every k, then 2-means."""
    low, high = min(scores), max(scores)
    if len(scores) < 2 or high == low:
        return [False] * len(scores)
    scaled = [(score - low) / (high - low) for score in scores]
    gaps, errors = [], []
    for clusters in range(1, min(7, len(scores) - 1) + 1):
        logs = [math.log(cheapest_cut(sample, clusters)[0]) for sample in references.tolist()]
        cost = cheapest_cut(scaled, clusters)[0]
        gaps.append(sum(logs) / len(logs) - (math.log(cost) if cost > 0 else -math.inf))
        errors.append(math.sqrt(1 + 1 / len(logs)) * float(np.std(logs)))
    chosen = len(gaps)
    for k in range(len(gaps) - 1):
        if gaps[k] >= gaps[k + 1] - errors[k + 1]:
            chosen = k + 1
            break
    if chosen == 1:
        return [False] * len(scores)
    upper = cheapest_cut(scaled, 2)[1][1]
    return [value >= upper[0] for value in scaled]


@pytest.mark.parametrize("count", [2, 3, 4, 6, 9])
def test_the_gap_statistic_decides_as_with_every_number_of_clusters(count: int) -> None:
    found_some = found_none = False
    for seed in range(25):
        scores = random_vectors(1, count, seed)[0].abs()
        scores[: count // 3] += float(seed % 5)
        references = torch.rand(10, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        expected = slow_suspects(scores.tolist(), references)
        assert suspicious(scores, torch.Generator().manual_seed(seed)) == expected
        found_some, found_none = found_some or any(expected), found_none or not any(expected)
    assert found_none
    assert found_some == (count > 2)


@pytest.mark.parametrize("score", [0.0, 0.1, 1 / 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 8])
def test_equal_scores_accuse_nobody(count: int, score: float) -> None:
    scores = score * (1 + 1e-15 * (torch.arange(count) % 3 == 0).double())  # equal up to rounding
    assert suspicious(scores, torch.Generator().manual_seed(0)) == [False] * count


def test_two_heaps_of_scores_and_a_tie_of_cuts() -> None:
    generator = torch.Generator().manual_seed(0)
    assert suspicious(torch.tensor([0.2, 0.9, 0.2, 0.9, 0.2]).double(), generator) == [
        False,
        True,
        False,
        True,
        False,
    ]


class SlowFLDetector:
    """FLDetector with every client in every round, as its definition reads; D is small."""

    def __init__(self, window: int) -> None:
        self.window, self.moves, self.bends, self.shares = window, [], [], []  # type: ignore[var-annotated]
        self.rows = self.mean = None

    def __call__(self, rows: Tensor, last_step: Tensor | None, references: Tensor) -> tuple[Tensor, list[bool]]:
        wide = rows.double()
        if self.rows is not None:
            move = -last_step.double()  # type: ignore[union-attr]
            change = bfgs_matrix(self.moves, self.bends) @ move if self.moves else torch.zeros_like(move)
            errors = (self.rows + change - wide).norm(dim=1)
            self.shares = [*self.shares, errors / errors.sum()][-self.window :]
        out = [False] * len(rows)
        if len(self.shares) == self.window:
            out = slow_suspects((sum(self.shares) / self.window).tolist(), references)
        mean = wide[~torch.tensor(out)].mean(0)
        if self.mean is not None:
            self.moves = [*self.moves, move][-self.window :]
            self.bends = [*self.bends, mean - self.mean][-self.window :]
        self.rows, self.mean = wide, mean
        return mean, out


def quadratic_rounds(rounds: int, clients: int, columns: int, hostile: Sequence[int], size: float) -> Any:
    """A federation on quadratics: gradients at the weights with little noise; the hostile clients send noise only.

    A generator: send it the step of a round, and it gives the rows of the next.
    """
    root = random_vectors(columns, columns, 1)
    curvature = root @ root.T / columns + 0.5 * torch.eye(columns, dtype=torch.float64)
    targets = random_vectors(clients, columns, 2)
    weights = torch.zeros(columns, dtype=torch.float64)
    for number in range(rounds):
        noise = random_vectors(clients, columns, 10 + number)
        rows = (weights - targets) @ curvature + 0.01 * noise
        rows[hostile] = size * noise[hostile]
        step = yield rows.float()
        weights = weights - 0.1 * step.double()


@pytest.mark.parametrize("hostile", [[], [6], [1, 4]])
def test_fldetector_equals_its_slow_form_and_finds_those_who_do_not_follow(hostile: list[int]) -> None:
    window, clients = 3, 7
    fast, slow = build_aggregator("fldetector", window=window), SlowFLDetector(window)
    rounds = quadratic_rounds(9, clients, 5, hostile, size=3.0)
    rows, last, found = next(rounds), None, []
    for number in range(9):
        context = context_of(range(clients), number, last)
        references = torch.rand(
            10, clients, generator=torch.Generator().manual_seed(100 + number), dtype=torch.float64
        )
        step = fast(rows, context)
        expected, out = slow(rows, last, references)
        torch.testing.assert_close(step.double(), expected, rtol=1e-5, atol=1e-6)
        assert fast.diagnostics.trust.tolist() == [float(not bad) for bad in out]
        found.append([client for client, bad in enumerate(out) if bad])
        last = 0.1 * step  # the server scales
        if number < 8:
            rows = rounds.send(step)
    assert found[:window] == [[]] * window
    if hostile:
        assert found[window:] == [hostile] * (9 - window)


def test_fldetector_leaves_a_huge_update_out_and_the_rest_is_exact() -> None:
    detector = build_aggregator("fldetector", window=2)
    honest = 1e-3 * random_rows(6, 101)
    last = None
    for number in range(4):
        huge = 1e20 * random_rows(1, 101, seed=number)
        rows = torch.cat([honest[:2], huge, honest[2:]])
        last = detector(rows, context_of(range(7), number, last))
        if number >= 2:
            torch.testing.assert_close(last.double(), honest.double().mean(0), rtol=1e-5, atol=0)
    assert detector.diagnostics.trust.tolist() == [1, 1, 0, 1, 1, 1, 1]


def test_fldetector_keeps_clients_apart_when_some_are_absent() -> None:
    """With a constant update of each client only the one that changes can have an error, whoever is there."""
    own = {client: random_rows(1, 30, seed=client)[0] for client in range(9)}
    detector = build_aggregator("fldetector", window=2)
    order = [[0, 1, 2, 3, 8], [8, 2, 5, 1], [5, 3, 0, 8], [3, 8, 0, 5, 2, 1], [1, 0, 8, 3], [8, 5, 3, 2, 1, 0]]
    zero = torch.zeros(30)  # a model that does not move
    for number, present in enumerate(order):
        rows = torch.stack([own[client] + (client == 8) * number for client in present])
        context = context_of(present, number, zero if number else None)
        with_nan = torch.cat([rows, torch.full((1, 30), torch.nan)])
        if number == 3:  # client 7 sends NaN
            with pytest.warns(FedsimWarning, match=r"\[7\]"):
                detector(with_nan, context_of([*present, 7], number, zero))
        else:
            detector(rows, context)
        scores = dict(zip(present, detector.diagnostics.per_client["score"].tolist(), strict=True))
        assert all(score == 0 for client, score in scores.items() if client != 8), scores
        assert scores[8] == (number > 0)
    assert detector.diagnostics.trust.tolist() == [0.0, 1, 1, 1, 1, 1]


def test_fldetector_judges_nobody_with_fewer_scores_than_the_window() -> None:
    detector = build_aggregator("fldetector", window=3)
    last = None
    for number in range(4):
        rows = random_rows(1, 20).expand(6, -1).clone()
        rows[5] = (-1.0) ** number * 50
        present = 5 if number == 1 else 6
        last = detector(rows[:present], context_of(range(present), number, last))
    assert detector.diagnostics.trust.tolist() == [1.0] * 6
    rows[5] = 50
    detector(rows, context_of(range(6), 4, last))
    assert detector.diagnostics.trust.tolist() == [1.0] * 5 + [0.0]


def test_fldetector_predicts_the_parameters_where_rows_hold_buffers_too() -> None:
    rounds = [random_rows(5, 12, seed=seed) for seed in range(5)]
    whole, cut = (build_aggregator("fldetector", window=2) for _ in range(2))
    last = None
    for number, rows in enumerate(rounds):
        step = whole(rows, context_of(range(5), number, last))
        shorter = cut(rows[:, :9], context_of(range(5), number, last))
        assert torch.equal(step[:9], shorter)
        assert torch.equal(whole.diagnostics.per_client["score"], cut.diagnostics.per_client["score"])
        last = step[:9]
    assert bool(whole.diagnostics.per_client["score"].any())


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 1), (2, 4), (3, 1), (5, 1)])
@pytest.mark.parametrize("kind", ["zero", "same", "random"])
def test_fldetector_of_few_rows_and_of_equal_ones_is_defined(kind: str, shape: tuple[int, int]) -> None:
    detector = build_aggregator("fldetector", window=2)
    last = None
    for number in range(5):
        rows = random_rows(*shape, seed=number) if kind == "random" else random_rows(1, shape[1]).expand(shape)
        rows = torch.zeros(shape) if kind == "zero" else rows
        last = detector(rows, context_of(range(shape[0]), number, last))
        assert bool(last.isfinite().all())
        if kind != "random" or shape[0] < 3:
            assert detector.diagnostics.trust.tolist() == [1.0] * shape[0]


# RFFL ----------------------------------------------------------------------------------------------


class SlowRFFL:
    """RFFL with dicts, from its definition."""

    def __init__(self, fade: float, warmup_rounds: int, clip: float | None) -> None:
        self.fade, self.warmup_rounds, self.clip = fade, warmup_rounds, clip
        self.reputation: dict[int, float] = {}
        self.gone: set[int] = set()
        self.round = 0

    def __call__(self, rows: Tensor, ids: Sequence[int]) -> Tensor:
        updates = {k: row.double() for k, row in zip(ids, rows, strict=True) if k not in self.gone}
        step = torch.zeros(rows.shape[1], dtype=torch.float64)
        norms = sorted(float(g.norm()) for g in updates.values())
        limit = self.clip or (norms[(len(norms) - 1) // 2] if norms else 0.0)
        clipped = {k: g * min(1.0, limit / float(g.norm())) if g.any() else g for k, g in updates.items()}
        for k in updates:
            self.reputation.setdefault(k, 1 / len(updates))
        present = sum(self.reputation[k] for k in updates)
        for k, g in clipped.items():
            step += self.reputation[k] / present * g if present else 0.0
        for k, g in clipped.items():
            lengths = float(g.norm() * step.norm())
            cosine = float(g @ step) / lengths if lengths else 0.0
            self.reputation[k] = max(0.0, self.fade * self.reputation[k] + (1 - self.fade) * cosine)
        self.share_out()
        self.round += 1
        if self.round > self.warmup_rounds:
            limit = 1 / (3 * len(self.reputation)) if self.reputation else 0.0
            for k in [k for k, r in self.reputation.items() if r < limit]:
                del self.reputation[k]
                self.gone.add(k)
            self.share_out()
        return step

    def share_out(self) -> None:
        total = sum(self.reputation.values())
        self.reputation = {k: r / total if total else 1 / len(self.reputation) for k, r in self.reputation.items()}


@pytest.mark.parametrize("clip", [None, 3.0])
@pytest.mark.parametrize("fade", [0.0, 0.5, 0.95])
def test_rffl_equals_its_slow_form_with_clients_coming_and_going(fade: float, clip: float | None) -> None:
    chosen = {} if clip is None else {"clip": clip}
    gone: set[int] = set()
    for seed in range(4):
        fast = build_aggregator("rffl", fade=fade, warmup_rounds=2, **chosen)
        slow = SlowRFFL(fade, 2, clip)
        for number in range(12):
            draw = torch.Generator().manual_seed(31 * seed + number)
            ids = torch.randperm(9, generator=draw)[: 4 + number % 4].tolist()
            rows = random_rows(len(ids), 40, seed=99 * seed + number, shift=0.0) + 0.5 * random_rows(1, 40, seed=seed)
            for row, client in enumerate(ids):
                rows[row] *= -1.0 if client in (2, 5) else 1 + client
            step = fast(rows, context_of(ids, number))
            torch.testing.assert_close(step.double(), slow(rows, ids), rtol=1e-5, atol=1e-6)
            found = fast.diagnostics.per_client["reputation"].tolist()
            assert found == pytest.approx([slow.reputation.get(client, 0.0) for client in ids], rel=1e-9, abs=1e-12)
        assert fast.state_dict()["left"] == sorted(slow.gone)
        gone |= slow.gone
    assert gone


def test_rffl_lets_nobody_leave_before_the_warm_up_is_over_and_nobody_back() -> None:
    rffl = build_aggregator("rffl", fade=0.5, warmup_rounds=3)
    good = random_rows(1, 20)
    rows = torch.cat([good, good, good, -good])
    for number in range(3):
        rffl(rows, context_of([3, 1, 7, 5], number))
        assert rffl.state_dict()["left"] == []
        assert rffl.diagnostics.per_client["reputation"][3] < 1 / 12
    rffl(rows, context_of([3, 1, 7, 5], 3))
    assert rffl.state_dict()["left"] == [5]
    assert rffl.diagnostics.scalars["active_clients"] == 3
    honest = torch.cat([-good, good, good, good])
    step = rffl(honest, context_of([5, 1, 3, 7], 4))  # client 5, which has left, in another place
    torch.testing.assert_close(step, good[0], rtol=1e-6, atol=0)
    assert rffl.diagnostics.trust.tolist() == [0, 1, 1, 1]
    assert torch.equal(rffl(rows[3:], context_of([5], 5)), torch.zeros(20))
    assert rffl.state_dict()["reputations"].keys() == {1, 3, 7}


def test_rffl_clips_a_huge_update_and_keeps_the_rest_exact() -> None:
    rows = torch.cat([1e-3 * random_rows(4, 101), torch.full((1, 101), 1e20)])
    step = build_aggregator("rffl")(rows)
    torch.testing.assert_close(step.double(), SlowRFFL(0.95, 10, None)(rows, range(5)), rtol=1e-5, atol=1e-10)
    assert float(step.norm()) < 0.1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_rffl_of_zero_rows_keeps_everybody(count: int) -> None:
    rffl = build_aggregator("rffl", fade=0.0, warmup_rounds=0)
    for number in range(3):
        assert torch.equal(rffl(torch.zeros(count, 7), context_of(range(count), number)), torch.zeros(7))
    assert rffl.state_dict()["reputations"] == dict.fromkeys(range(count), pytest.approx(1 / count))


@pytest.mark.parametrize("clip", [0.0, -1.0, "median", True])
def test_rffl_refuses_an_impossible_clip(clip: object) -> None:
    with pytest.raises(ConfigError, match="clip"):
        build_aggregator("rffl", clip=clip)


# RobustTailor --------------------------------------------------------------------------------------


def slow_game(losses: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    """Ten multiplicative steps of both players."""
    server, attacker = [1.0] * len(losses), [1.0] * len(losses[0])
    for _ in range(10):
        p = [w / sum(server) for w in server]
        q = [w / sum(attacker) for w in attacker]
        server = [w * math.exp(-sum(q[a] * loss[a] for a in range(len(q)))) for w, loss in zip(server, losses)]  # noqa: B905
        attacker = [w * math.exp(sum(p[r] * losses[r][a] for r in range(len(p)))) for a, w in enumerate(attacker)]
    return [w / sum(server) for w in server], [w / sum(attacker) for w in attacker]


def test_the_game_equals_multiplicative_weights() -> None:
    for seed in range(5):
        losses = random_vectors(4, 3, seed).tanh()
        server, attacker = slow_game(losses.tolist())
        found = play(losses)
        assert found[0].tolist() == pytest.approx(server)
        assert found[1].tolist() == pytest.approx(attacker)


def slow_robust_tailor(rows: Tensor) -> list[float]:
    """The server's weights for krum, cwmed and cwtm under ipm and alie, with f = (K-3)/2."""
    count = len(rows)
    f = max(0, (count - 3) // 2)
    distances = direct_squared_distances(rows).tolist()
    scores = []
    for i in range(count):
        others = sorted(distances[i][j] for j in range(count) if j != i)
        scores.append(sum(others[: count - f - 2]))
    honest = rows[sorted(range(count), key=scores.__getitem__)[: count - f]].double()
    mean = honest.mean(0)
    losses: list[list[float]] = [[], [], []]
    for forged in (-1.3 * mean, mean - honest.std(0)):
        attacked = torch.cat([honest, forged.expand(f, -1)])
        for kept, rule in zip(losses, (krum, median, trimmed_mean), strict=True):
            kept.append(-float(torch.cosine_similarity(mean, rule(attacked), dim=0)))
    return slow_game(losses)[0]


@pytest.mark.parametrize("count", [3, 4, 5, 7, 12])
def test_robust_tailor_weighs_the_rules_as_its_definition_does(count: int) -> None:
    pool = ["krum", "cwmed", "cwtm"]
    for seed in range(3):
        rows = random_rows(count, 60, seed=seed)
        tailor = build_aggregator("robust_tailor", pool=pool, attacks=["ipm", "alie"])
        step = tailor(rows, context_of(range(count), seed))
        found = [tailor.diagnostics.scalars[f"weight_{name}"] for name in pool]
        assert found == pytest.approx(slow_robust_tailor(rows), rel=1e-4)
        drawn = pool[int(tailor.diagnostics.scalars["drawn_rule"])]
        assert torch.equal(step, build_aggregator(drawn)(rows))


def test_robust_tailor_draws_by_the_weights_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    tailor = build_aggregator("robust_tailor", pool=["fedavg", "cwmed"], attacks=["ipm"])
    losses = torch.tensor([[0.05], [0.0]], dtype=torch.float64)  # odds of 1 to e^0.5
    monkeypatch.setattr(tailor, "_losses", lambda *_: losses)
    rows, times, share = torch.tensor([[0.0], [0.0], [9.0]]), 300, 1 / (1 + math.exp(-0.5))
    drawn = [float(tailor(rows, context_of(range(3), number))) == 0.0 for number in range(times)]
    assert tailor.diagnostics.scalars["weight_cwmed"] == pytest.approx(share)
    assert abs(sum(drawn) / times - share) < 4 * math.sqrt(share * (1 - share) / times)


def test_robust_tailor_prefers_the_rule_that_withstands() -> None:
    rows = 1 + 0.1 * random_rows(9, 50)
    tailor = build_aggregator("robust_tailor", pool=["fedavg", "cwmed"], attacks=["ipm", "scaling"])
    tailor(rows, context_of(range(9)))
    assert tailor.diagnostics.scalars["weight_cwmed"] > tailor.diagnostics.scalars["weight_fedavg"]


def test_robust_tailor_has_the_surrogates_of_multi_krum() -> None:
    tailor = build_aggregator("robust_tailor")
    rows = torch.cat([random_rows(5, 40), 50 + random_rows(2, 40, seed=1)])
    tailor(rows, context_of([9, 3, 4, 1, 0, 7, 8]))
    assert tailor.diagnostics.per_client["surrogate"].tolist() == [1, 1, 1, 1, 1, 0, 0]


def test_robust_tailor_advances_a_rule_only_when_it_is_drawn() -> None:
    tailor = build_aggregator("robust_tailor", pool=["centered_clipping"])
    alone = build_aggregator("centered_clipping")
    for number in range(3):
        rows = random_rows(7, 30, seed=number)
        assert torch.equal(tailor(rows, context_of(range(7), number)), alone(rows, context_of(range(7), number)))


def test_robust_tailor_with_huge_rows_stays_among_the_honest() -> None:
    for seed in range(5):
        honest = 1e-3 * random_rows(5, 80, seed=seed)
        rows = torch.cat([honest, torch.full((2, 80), 1e20)])
        step = build_aggregator("robust_tailor", pool=["krum", "cwmed", "cwtm"])(rows, context_of(range(7), seed))
        assert float(step.abs().max()) <= float(honest.abs().max())


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"pool": ["krumm"]}, "pool"),
        ({"attacks": ["ipmm"]}, "attacks"),
        ({"pool": []}, "pool"),
        ({"attacks": []}, "attacks"),
        ({"pool": "krum"}, "pool"),
    ],
)
def test_robust_tailor_refuses_unknown_rules_and_attacks(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}"):
        build_aggregator("robust_tailor", **settings)


def test_robust_tailor_refuses_an_attack_that_probes_an_aggregator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks.get("ipm"), "probes", True)
    with pytest.raises(ConfigError, match=r"^attacks.*'ipm' probes"):
        build_aggregator("robust_tailor", attacks=["alie", "ipm"])


def test_robust_tailor_simulates_what_there_is_of_the_default_attacks() -> None:
    tailor = build_aggregator("robust_tailor")
    tailor(random_rows(7, 30), context_of(range(7)))
    wanted = {f"weight_{name}" for name in [*tailor.settings.pool, *tailor.settings.attacks]}
    missing = {f"weight_{name}" for name in tailor.settings.attacks if name not in available_attacks()}
    assert {key for key in tailor.diagnostics.scalars if key.startswith("weight_")} == wanted - missing


# All four ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_whole_and_three_shards_agree_over_rounds(name: str) -> None:
    settings = dict(STATEFUL).get(name, {})
    rounds = [random_rows(7, 100_001, seed=seed) for seed in range(5 if name == "fldetector" else 2)]
    assert len(ColumnShards.cut(rounds[0], 3)._shards) == 3
    ids = [range(7)] * len(rounds)
    whole = run_rounds(build_aggregator(name, **settings), rounds, ids)
    cut = run_rounds(build_aggregator(name, **settings), [ColumnShards.cut(rows, 3) for rows in rounds], ids)
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), STATEFUL)
def test_the_order_of_the_clients_does_not_matter_over_rounds(name: str, settings: dict[str, Any]) -> None:
    rounds = [random_rows(8, 60, seed=seed) + (torch.arange(8) == 3)[:, None] * 5 for seed in range(6)]
    ids = [11, 4, 9, 30, 2, 5, 1, 8]
    orders = [torch.randperm(8, generator=torch.Generator().manual_seed(seed)).tolist() for seed in range(6)]
    straight = run_rounds(build_aggregator(name, **settings), rounds, [ids] * 6)
    shuffled = run_rounds(
        build_aggregator(name, **settings),
        [rows[order] for rows, order in zip(rounds, orders, strict=True)],
        [[ids[row] for row in order] for order in orders],
    )
    for one, other in zip(straight, shuffled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), STATEFUL)
def test_a_state_through_a_file_continues_the_same(name: str, settings: dict[str, Any]) -> None:
    rounds = [random_rows(6, 40, seed=seed) for seed in range(7)]
    ids = [list(range(6)), [5, 1, 0, 2, 3, 4]] * 3 + [list(range(6))]
    aggregator, resumed = (build_aggregator(name, **settings) for _ in range(2))
    last = run_rounds(aggregator, rounds[:4], ids[:4])[-1]
    file = io.BytesIO()
    torch.save(aggregator.state_dict(), file)
    state = aggregator.state_dict()
    expected = run_rounds(aggregator, rounds[4:], ids[4:], last, first=4)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    found = run_rounds(resumed, rounds[4:], ids[4:], last, first=4)
    aggregator.load_state_dict(state)  # and the state taken before did not go on with the aggregator
    again = run_rounds(aggregator, rounds[4:], ids[4:], last, first=4)
    for number in range(3):
        assert torch.equal(found[number], expected[number])
        assert torch.equal(again[number], expected[number])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fldetector_leaves_rows_and_its_history_alone(dtype: torch.dtype) -> None:
    """Also with a last step, from which it predicts."""
    detector, step, given = build_aggregator("fldetector", window=2), None, []
    for round in range(4):
        rows = random_rows(5, 40, seed=round).to(dtype)
        given.append((rows, rows.clone()))
        facts = RoundContext(round=round, client_ids=tuple(range(5)), last_step=step)
        before = copy.deepcopy(state := detector.state_dict())
        step = detector(rows, facts)
        assert all(torch.equal(state["rows"][client], row) for client, row in before["rows"].items())
    assert all(torch.equal(rows, before) for rows, before in given)
