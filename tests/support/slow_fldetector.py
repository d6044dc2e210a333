"""FLDetector and its parts in slow forms that read as their definitions."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def bfgs_matrix(moves: Sequence[Tensor], bends: Sequence[Tensor]) -> Tensor:
    """B from B_0 = sigma I by the BFGS update, pair after pair."""
    scale = (moves[-1] @ bends[-1]) / (moves[-1] @ moves[-1])
    matrix = scale * torch.eye(len(moves[0]), dtype=torch.float64)
    for move, bend in zip(moves, bends, strict=True):
        image = matrix @ move
        matrix = matrix - torch.outer(image, image) / (move @ image) + torch.outer(bend, bend) / (bend @ move)
    return matrix


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


class SlowFLDetector:
    """FLDetector with every client in every round, as its definition reads; D is small."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.moves: list[Tensor] = []
        self.bends: list[Tensor] = []
        self.shares: list[Tensor] = []
        self.rows: Tensor | None = None
        self.mean: Tensor | None = None

    def __call__(self, rows: Tensor, last_step: Tensor | None, references: Tensor) -> tuple[Tensor, list[bool]]:
        wide = rows.double()
        if self.rows is not None:
            move = -last_step.double()
            change = bfgs_matrix(self.moves, self.bends) @ move if self.moves else torch.zeros_like(move)
            errors = (self.rows + change - wide).norm(dim=1)
            self.shares = [*self.shares, errors / errors.sum()][-self.window :]
        out = [False] * len(rows)
        if len(self.shares) == self.window:
            total: Any = sum(self.shares)
            out = slow_suspects((total / self.window).tolist(), references)
        mean = wide[~torch.tensor(out)].mean(0)
        if self.mean is not None:
            self.moves = [*self.moves, move][-self.window :]
            self.bends = [*self.bends, mean - self.mean][-self.window :]
        self.rows, self.mean = wide, mean
        return mean, out
