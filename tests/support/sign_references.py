"""TIES, sign votes and LASA, slowly and in float64."""

import math

import numpy as np
import torch
from torch import Tensor

from fedsim.updates.layout import RowLayout
from support.references import Array, lower_middle, sign

LAYOUT = RowLayout({"conv": (2, 2, 2, 2), "bias": (5,), "weight": (4, 6), "gain": (), "cube": (2, 2, 2)})
COLUMNS = LAYOUT.size


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
