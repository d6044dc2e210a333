"""FLDetector against a slow form of its definition."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.aggregators.fldetector import hessian_times, suspicious
from fedsim.errors import FedsimWarning
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import context_of
from support.references import random_rows, random_vectors
from support.slow_fldetector import SlowFLDetector, bfgs_matrix, slow_suspects

# FLDetector ----------------------------------------------------------------------------------------


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
        torch.testing.assert_close(
            hessian_times(UpdateMatrix(vector[None]), vector, moves, bends), expected, rtol=1e-5, atol=1e-6 * scale
        )


def test_l_bfgs_with_pairs_of_very_different_lengths() -> None:
    moves, bends = curved_pairs(3, 6, seed=5)
    lengths = [1e15, 1e-6, 1.0]
    longer = [[length * v for length, v in zip(lengths, group, strict=True)] for group in (moves, bends)]
    vector = random_vectors(1, 6, 8)[0]
    expected = bfgs_matrix(moves, bends) @ vector
    torch.testing.assert_close(
        hessian_times(UpdateMatrix(vector[None]), vector, *longer), expected, rtol=1e-6, atol=1e-6
    )


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
    torch.testing.assert_close(
        hessian_times(UpdateMatrix(vector[None]), vector, moves, bends), torch.from_numpy(expected)
    )


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


def test_two_groups_of_scores_and_a_tie_of_cuts() -> None:
    generator = torch.Generator().manual_seed(0)
    assert suspicious(torch.tensor([0.2, 0.9, 0.2, 0.9, 0.2]).double(), generator) == [
        False,
        True,
        False,
        True,
        False,
    ]


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
        references = torch.rand(10, clients, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
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
    """With constant updates only the client that changes can have an error, whichever clients take part."""
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
        step = whole(rows, replace(context_of(range(5), number, last), layout=RowLayout({"weight": (9,)})))
        shorter = cut(rows[:, :9], context_of(range(5), number, None if last is None else last[:9]))
        assert torch.equal(step[:9], shorter)
        assert torch.equal(whole.diagnostics.per_client["score"], cut.diagnostics.per_client["score"])
        last = step
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


# All four ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fldetector_leaves_rows_and_its_history_alone(dtype: torch.dtype) -> None:
    """Also with a last step, from which it predicts."""
    detector, step, given = build_aggregator("fldetector", window=2), None, []
    for round_index in range(4):
        rows = random_rows(5, 40, seed=round_index).to(dtype)
        given.append((rows, rows.clone()))
        facts = RoundContext(round=round_index, client_ids=tuple(range(5)), last_step=step)
        before = copy.deepcopy(state := detector.state_dict())
        step = detector(rows, facts)
        assert all(torch.equal(state["rows"][client], row) for client, row in before["rows"].items())
    assert all(torch.equal(rows, before) for rows, before in given)
