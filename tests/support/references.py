"""Slow and obvious float64 forms of what fedsim computes; nothing here imports fedsim."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray


def random_rows(rows: int, columns: int, seed: int = 0, shift: float = 0.3) -> Tensor:
    """Float32 rows [K, D] that share a direction, with some zeros in them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, columns, generator=generator) + shift * torch.randn(columns, generator=generator)
    return values * (torch.rand(rows, columns, generator=generator) > 0.1)


def integer_rows(rows: int, columns: int, seed: int) -> Tensor:
    """Small integers: many ties in votes, medians and quantiles, and many zeros."""
    return torch.randint(-2, 3, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()


def random_vectors(count: int, columns: int, seed: int) -> Tensor:
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def direct_squared_distances(rows: Tensor) -> Tensor:
    """Pairwise squared distances [K, K], each as the sum of its squared differences."""
    wide = rows.double()
    return torch.stack([(wide - row).square().sum(1) for row in wide])


def mean(rows: Tensor) -> Tensor:
    return rows.double().mean(0)


def median(rows: Tensor) -> Tensor:
    """Coordinate-wise median; torch.median gives the lower middle value."""
    return rows.double().median(dim=0).values


def trimmed_mean(rows: Tensor, f: int | None = None) -> Tensor:
    f = (len(rows) - 1) // 2 if f is None else f
    return rows.double().sort(dim=0).values[f : len(rows) - f].mean(0)


def krum_choice(rows: Tensor, f: int | None = None, client_ids: Sequence[int] | None = None) -> int:
    """Row that Krum selects, by brute force over every pair."""
    count = len(rows)
    f = max(0, (count - 3) // 2) if f is None else f
    ids = range(count) if client_ids is None else client_ids
    distances = direct_squared_distances(rows).tolist()
    scores = []
    for i in range(count):
        others = sorted(distances[i][j] for j in range(count) if j != i)
        scores.append(sum(others[: max(1, count - f - 2)]))
    return min(range(count), key=lambda i: (scores[i], ids[i]))


def krum(rows: Tensor, f: int | None = None) -> Tensor:
    return rows[krum_choice(rows, f)].double()


def concordance_ratios(rows: Tensor) -> list[Fraction]:
    """Eq. 4-5, with exact fractions."""
    signs = np.sign(rows.double().numpy()).astype(int)
    count, columns = signs.shape
    ratios = []
    for k in range(count):
        concordances = [Fraction(int(sum(signs[k] * signs[other])), columns) for other in range(count)]
        ratios.append(max(Fraction(0), Fraction(sum((w > 0) - (w < 0) for w in concordances), count)))
    return ratios


def lower_middle(values: Sequence[float] | Array) -> float:
    return sorted(values)[(len(values) - 1) // 2]


def sign(value: float) -> int:
    return int(value > 0) - int(value < 0)
