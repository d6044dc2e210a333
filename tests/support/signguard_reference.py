"""SignGuard and its mean shift, point by point in float64."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from support.references import Array, lower_middle


@dataclass
class Clusters:
    """What mean shift found.

    Attributes:
        labels: of each point, from 0, that of the kernel with most points; -1 outside every cluster.
        narrow: the smallest difference between a distance and the bandwidth that something depended on.
    """

    labels: list[int]
    narrow: float


class MeanShift:
    """Flat-kernel mean shift with bin seeding, as scikit-learn documents it, with cluster_all=False."""

    def __init__(self, points: Array) -> None:
        self.points = points
        self.narrow = math.inf
        neighbours = max(1, len(points) // 2)
        self.bandwidth = float(np.mean([sorted(self.distances(point))[neighbours - 1] for point in points]))

    def distances(self, centre: Array) -> list[float]:
        return [math.dist(point, centre) for point in self.points]

    def is_near(self, distance: float) -> bool:
        self.narrow = min(self.narrow, abs(distance - self.bandwidth))
        return distance <= self.bandwidth

    def seeds(self) -> list[Array]:
        """The middle of every occupied cell of a grid as fine as the bandwidth; the points, if as many."""
        places = self.points / self.bandwidth
        self.narrow = min(self.narrow, float(np.abs(places - np.floor(places) - 0.5).min()) * self.bandwidth)
        cells = {tuple(np.round(place)) for place in places}
        if len(cells) == len(self.points):
            return list(self.points)
        return [np.array(cell) * self.bandwidth for cell in cells]

    def climb(self, centre: Array) -> tuple[int, tuple[float, ...]]:
        """How many points the last kernel held, and their mean."""
        while True:
            inside = [p for p, d in zip(self.points, self.distances(centre), strict=True) if self.is_near(d)]
            before, centre = centre, np.mean(inside, axis=0)
            if math.dist(before, centre) <= 1e-3 * self.bandwidth:
                return len(inside), tuple(centre.tolist())

    def centres(self) -> list[tuple[float, ...]]:
        """Kernels with more points first (then the larger centre), without those near one listed before."""
        listed: list[tuple[float, ...]] = []
        for _, centre in sorted({self.climb(seed) for seed in self.seeds()}, reverse=True):
            if not any(self.is_near(math.dist(centre, other)) for other in listed):
                listed.append(centre)
        return listed

    def clusters(self) -> Clusters:
        if self.bandwidth < 1e-12:
            return Clusters([0] * len(self.points), math.inf)
        labels, centres = [], self.centres()
        for point in self.points:
            distance, label = min((math.dist(point, centre), label) for label, centre in enumerate(centres))
            labels.append(label if self.is_near(distance) else -1)
        return Clusters(labels, self.narrow)


def sign_features(window: Array) -> Array:
    """Shares of +, 0 and - of each row, each divided by its largest over the clients."""
    shares = np.array([[(row > 0).mean(), (row == 0).mean(), (row < 0).mean()] for row in window])
    return shares / np.where(shares.max(0) > 0, shares.max(0), 1.0)


def largest_cluster(labels: Sequence[int]) -> list[bool]:
    """Who is in the largest cluster, of equally large ones that which is listed first; -1 is no cluster."""
    sizes = {label: list(labels).count(label) for label in labels if label >= 0}
    chosen = min(sizes, key=lambda label: (-sizes[label], label))
    return [label == chosen for label in labels]


def signguard(
    rows: Tensor, start: int, width: int, lower: float = 0.1, upper: float = 3.0
) -> tuple[Tensor, list[bool], float]:
    """The step, who was kept, and how narrow the narrowest decision of the clustering was."""
    g = rows.double().numpy()
    lengths = [math.sqrt(math.fsum(row**2)) for row in g]
    m, middle = lower_middle(lengths), float(np.median(lengths))
    usual = [lower * middle < length < upper * middle for length in lengths]
    found = MeanShift(sign_features(g[:, start : start + width])).clusters()
    similar = largest_cluster(found.labels)
    kept = [a and b for a, b in zip(usual, similar, strict=True)]
    kept = kept if any(kept) else usual if any(usual) else [True] * len(g)
    clipped = [row * (m / length if length > m else 1.0) for row, length in zip(g, lengths, strict=True)]
    step = np.mean([row for row, keep in zip(clipped, kept, strict=True) if keep], axis=0)
    return torch.from_numpy(step), kept, found.narrow
