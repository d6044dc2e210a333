"""RFA, Huber, the centered clippings and FedNGA as plain float64 iterations over all D coordinates."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Step = Callable[..., Tensor]


def plain_rfa(rows: Tensor, iterations: int = 3, smoothing: float = 1e-6) -> Tensor:
    g, v = rows.double(), torch.zeros(rows.shape[1], dtype=torch.float64)
    for _ in range(iterations):
        w = 1 / (g - v).norm(dim=1).clamp(min=smoothing)
        v = (w[:, None] * g).sum(0) / w.sum()
    return v


def plain_huber(
    rows: Tensor,
    threshold: float = 0.02,
    iterations: int = 100,
    tolerance: float = 1e-3,
    smoothing: float = 1e-6,
) -> Tensor:
    g, c = rows.double(), torch.zeros(rows.shape[1], dtype=torch.float64)
    for _ in range(iterations):
        w = (threshold / (g - c).norm(dim=1).clamp(min=smoothing)).clamp(max=1)
        before, c = c, (w[:, None] * g).sum(0) / w.sum()
        if float((c - before).norm()) < tolerance:
            break
    return c


def plain_clip(v: Tensor, g: Tensor, radius: float | str, everybody: Tensor) -> Tensor:
    """One step v + mean(clip(g_k - v)); torch.median is the lower one."""
    tau = float((everybody - v).norm(dim=1).median()) if radius == "auto" else float(radius)
    lengths = (g - v).norm(dim=1, keepdim=True)
    return v + torch.where(lengths > tau, (g - v) * (tau / lengths), g - v).mean(0)


def plain_clipping(rows: Tensor, v: Tensor | None = None, radius: float | str = 100.0, iterations: int = 3) -> Tensor:
    g = rows.double()
    v = torch.zeros_like(g[0]) if v is None else v.double()
    for _ in range(iterations):
        v = plain_clip(v, g, radius, g)
    return v


def plain_fednga(rows: Tensor) -> Tensor:
    g = rows.double()
    return sum(row / float(row.norm()) if bool(row.any()) else row for row in g) / len(g)


def plain_sequential(
    rows: Tensor,
    v: Tensor,
    generator: torch.Generator,
    size: int,
    radius: float | str,
    iterations: int,
    ids: Sequence[int],
) -> tuple[Tensor, list[list[int]]]:
    """The rule in D-space: order, strata, buckets, and v through one bucket after the other."""
    g, by_id = rows.double(), sorted(range(len(rows)), key=ids.__getitem__)

    def shuffled(members: list[int]) -> list[int]:
        return [members[i] for i in torch.randperm(len(members), generator=generator).tolist()]

    if bool(v.any()):
        cosine = [float(row @ v / (row.norm() * v.norm())) if bool(row.any()) else 0.0 for row in g]
        order = sorted(by_id, key=lambda row: round(cosine[row], 12))
    else:
        order = shuffled(by_id)
    length = (len(g) + size - 1) // size
    strata: list[list[int]] = []
    while order:
        strata.append(shuffled(order[:length]))
        order = order[length:]
    buckets = []
    for i in range(length):
        buckets.append([stratum[i] for stratum in strata if i < len(stratum)])
        for _ in range(iterations):
            v = plain_clip(v, g[buckets[-1]], radius, g)
    return v, buckets
