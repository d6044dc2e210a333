"""FedSECA with every setting, SignGuard, COPOD-DOS, and the attacks of the FedSECA authors, word for word in float64.

Written from the definitions alone: nothing here imports fedsim. The other rules have their slow forms in references,
distance_references, iterative_references, sign_references and slow_fldetector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from support.references import Array, lower_middle

Rule = Callable[[Tensor], Tensor]
"""Rows [K, D] to a step [D]."""


def sign(value: float) -> int:
    return int(value > 0) - int(value < 0)


# Rows as a server sees them ------------------------------------------------------------------------

PAPER_CLIENTS = [(5, 2), (7, 3), (6, 2)]
"""K and B of the paper's three experiments."""

CRAFTED = ["alie", "ipm", "fang"]


def crafted_row(honest: Tensor, attack: str) -> Tensor:
    """What each Byzantine client sends, with the settings of the paper's tables."""
    wide = honest.double()
    mu = wide.mean(0)
    if attack == "alie":
        return mu - wide.std(0)
    if attack == "ipm":
        return -1.3 * mu
    return mu - 0.1 * mu.sign()


def attacked_rows(clients: int, byzantine: int, attack: str, seed: int, columns: int = 200) -> Tensor:
    """Float32 rows [K, D]: honest ones that share a direction, of different lengths, then the Byzantine ones."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(columns, generator=torch.Generator().manual_seed(1000))
    own = torch.randn(clients - byzantine, columns, generator=generator)
    lengths = 0.5 + torch.rand(clients - byzantine, 1, generator=generator)
    honest = lengths * (0.8 * common + own)
    return torch.cat([honest, crafted_row(honest, attack).float().expand(byzantine, -1)])


# FedSECA -------------------------------------------------------------------------------------------


def concordance_votes(g: Array) -> list[int]:
    """K rho_k of each client, as integers: Eq. 4 and 5, all clients against all."""
    signs = np.sign(g).astype(int)
    return [max(0, sum(sign(sum(row * other)) for other in signs)) for row in signs]


def clipped_rows(g: Array) -> Array:
    """Each row no longer than the lower median of the lengths: Eq. 8."""
    lengths = [math.sqrt(math.fsum(row**2)) for row in g]
    tau = lower_middle(lengths)
    return np.array(
        [row * min(1.0, tau / length) if length > 0 else row for row, length in zip(g, lengths, strict=True)]
    )


def survivors(g: Array, sparsity: float, inclusive: bool) -> Array:
    """Which values are beyond the quantile of their own raw row; at the quantile only if ``inclusive``."""
    limits = np.array([[np.quantile(np.abs(row), sparsity)] for row in g])
    return np.abs(g) >= limits if inclusive else np.abs(g) > limits


def elected_sign(ballots: Sequence[float], votes: Sequence[int], election: str) -> int:
    """The sign of the weighted sum over the clients; ``ballots`` are values, zero where a client has no say."""
    if election == "magnitude":
        return sign(math.fsum(ballots))
    weights = votes if election == "concordance" else [1] * len(ballots)
    return sign(sum(weight * sign(value) for weight, value in zip(weights, ballots, strict=True)))


def fedseca_of_a_round(
    rows: Tensor,
    sparsity: float = 0.9,
    variant: str = "paper",
    election: str = "concordance",
    clip: bool = True,
    clamp: bool = True,
    agree: bool = True,
) -> Tensor:
    """FedSECA without momentum, one coordinate after the other."""
    released = variant == "released_code"
    g = rows.double().numpy()
    votes = concordance_votes(g)
    c = clipped_rows(g) if clip else g
    kept = survivors(g, sparsity, inclusive=released)
    step = []
    for j in range(g.shape[1]):
        mu = lower_middle([abs(value) for value in c[:, j]])
        bounded = g[:, j] if released else c[:, j]
        v = [sign(value) * (min(mu, abs(value)) if clamp else abs(value)) for value in bounded]
        v = [value if keep else 0.0 for value, keep in zip(v, kept[:, j], strict=True)]
        if agree:
            ballots = [
                value if keep or not released else 0.0 for value, keep in zip(g[:, j], kept[:, j], strict=True)
            ]
            elected = elected_sign(ballots, votes, election)
            v = [value for value in v if elected * value > 0]
        step.append(math.fsum(v) / len(v) if v else 0.0)
    return torch.tensor(step, dtype=torch.float64)


def fedseca(
    rows_over_rounds: Sequence[Tensor],
    sparsity: float = 0.9,
    momentum: float = 0.0,
    variant: str = "paper",
    election: str = "concordance",
    clip: bool = True,
    clamp: bool = True,
    agree: bool = True,
) -> list[Tensor]:
    """The step of every round, with the server's momentum: Eq. 11."""
    before = torch.zeros(rows_over_rounds[0].shape[1], dtype=torch.float64)
    steps = []
    for rows in rows_over_rounds:
        now = fedseca_of_a_round(rows, sparsity, variant, election, clip, clamp, agree)
        before = momentum * before + (1 - momentum) * now
        steps.append(before)
    return steps


# SignGuard -----------------------------------------------------------------------------------------


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


# COPOD-DOS -----------------------------------------------------------------------------------------


def copod(table: Array) -> list[float]:
    """COPOD's score of each row: surprise in every column, on the side to which the column leans."""
    total = np.zeros(len(table))
    for column in table.T:
        left = np.array([-math.log(np.mean(column <= value)) for value in column])
        right = np.array([-math.log(np.mean(column >= value)) for value in column])
        third_moment = float(np.mean((column - column.mean()) ** 3))
        leaning = sign(third_moment if abs(third_moment) > 1e-14 * max(abs(column)) ** 3 else 0.0)
        tail = {-1: left, 0: left + right, 1: right}[leaning]
        total += np.maximum(tail, (left + right) / 2)
    return total.tolist()


def copod_dos(rows: Tensor) -> Tensor:
    g = rows.double().numpy()

    def cosine_distance(i: int, j: int) -> float:
        lengths = math.sqrt(math.fsum(g[i] ** 2)) * math.sqrt(math.fsum(g[j] ** 2))
        cosine = math.fsum(g[i] * g[j]) / lengths if lengths > 0 else 0.0
        return 0.0 if i == j else round(1 - cosine, 12)  # equal rows are at distance 0, as each is from itself

    clients = range(len(g))
    euclidean = copod(np.array([[math.dist(g[i], g[j]) for j in clients] for i in clients]))
    cosine = copod(np.array([[cosine_distance(i, j) for j in clients] for i in clients]))
    odds = np.exp([-(a + b) for a, b in zip(euclidean, cosine, strict=True)])
    return torch.from_numpy(odds @ g / odds.sum())


# Attacks of the FedSECA authors --------------------------------------------------------------------


def released_search(deviation: Callable[[float], float]) -> tuple[float, int]:
    """The last gamma that was tried, and how many were, in the authors' halving search from 10.

    Where the first deviation is NaN none ever succeeds, and the authors give up after a thousand tries, at 5.
    """
    gamma, change, before, succeeded, probes = 10.0, 5.0, -1.0, 0.0, 0
    while abs(gamma - succeeded) > 1e-5 and probes < 1000:
        tried, now, probes = gamma, deviation(gamma), probes + 1
        if now > before:
            succeeded = gamma
            gamma += change / 2
        else:
            gamma -= change / 2
        change /= 2
        before = now
    return tried, probes


def released_agr_tailored(clean: Tensor, attackers: Sequence[int], rule: Rule) -> tuple[Tensor, list[float]]:
    """What the attackers at these places send, and each one's gamma.

    Args:
        clean: rows [K, D] that all clients computed themselves, the attackers included.
        attackers: places of the attackers' rows.
        rule: the server's, on a state of its own in every call.
    """
    wide = clean.double()
    mu = wide.mean(0)
    length = float(mu.norm())
    direction = mu / length if length > 0 else torch.zeros_like(mu)
    sent, gammas = [], []
    for attacker in attackers:

        def deviation(gamma: float, place: int = attacker) -> float:
            rows = wide.clone()
            rows[place] = mu - gamma * direction
            return float((mu - rule(rows)).norm())

        gamma, _ = released_search(deviation)
        sent.append(mu - gamma * direction)
        gammas.append(gamma)
    return torch.stack(sent), gammas


def scaled_weights(own: Tensor, weights: Tensor, factor: float) -> Tensor:
    """Rows [B, D] of clients that multiply their weights w_k = w - g_k by the factor: w - factor w_k."""
    w = weights.double()
    return torch.stack([w - factor * (w - row) for row in own.double()])


def statopt_row(honest: Tensor, gamma: float) -> Tensor:
    return -gamma * honest.double().mean(0).sign()


def statopt_deviation(honest: Tensor, byzantine: int, gamma: float, rule: Rule) -> float:
    """J: how far B such rows carry the rule from the honest mean."""
    wide = honest.double()
    rows = torch.cat([wide, statopt_row(honest, gamma).expand(byzantine, -1)])
    return float((wide.mean(0) - rule(rows)).norm())
