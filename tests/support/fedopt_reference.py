"""Adaptive server optimisers in float64."""

import numpy as np

from fedsim.training.fedopt import FedAdagrad, FedAdam, FedYogi

KINDS = {"fedadagrad": FedAdagrad, "fedadam": FedAdam, "fedyogi": FedYogi}


def by_the_paper(
    kind: str, start: np.ndarray, deltas: np.ndarray, lr: float, first: float, second: float, tau: float
) -> np.ndarray:
    """Algorithm 2 of Reddi et al. 2021 in float64, with descending Δ; the weights after every step."""
    w, m, v = start.astype(np.float64), np.zeros(start.shape), np.full(start.shape, tau**2)
    path = []
    for delta in deltas.astype(np.float64):
        m = first * m + (1 - first) * delta
        if kind == "fedadagrad":
            v = v + delta**2
        elif kind == "fedadam":
            v = second * v + (1 - second) * delta**2
        else:
            v = v - (1 - second) * delta**2 * np.sign(v - delta**2)
        w = w - lr * m / (np.sqrt(v) + tau)
        path.append(w)
    return np.stack(path)
