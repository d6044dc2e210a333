"""The methods that decide by distances between rows, slowly and in float64."""

from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import torch
from pyod.models.copod import COPOD
from torch import Tensor

from support.references import direct_squared_distances


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
    left, selected = list(range(len(rows))), list[int]()
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


def unit_cosine_distances(rows: Tensor) -> Tensor:
    """1 - cosine, pair by pair in float64; 1 beside a zero row, 0 on the diagonal."""
    wide, count = rows.double(), len(rows)
    distances = torch.zeros(count, count, dtype=torch.float64)
    for i, j in permutations(range(count), 2):
        lengths = float(wide[i].norm() * wide[j].norm())
        distances[i, j] = 1 - float(wide[i] @ wide[j]) / lengths if lengths else 1.0
    return distances


def copod_dos(rows: Tensor) -> Tensor:
    """The definition, scored by pyod; equal rows are at the same distances, those between them 0."""
    euclidean = COPOD().fit(direct_squared_distances(rows).sqrt().numpy()).decision_scores_
    cosine = COPOD().fit(unit_cosine_distances(rows).numpy().round(12)).decision_scores_
    odds = np.exp(-(euclidean + cosine))
    return torch.from_numpy(odds / odds.sum()) @ rows.double()
