"""Rows as a server under attack sees them, and the attacks of the FedSECA authors, slowly and in float64."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

Rule = Callable[[Tensor], Tensor]
"""Rows [K, D] to a step [D]."""

PAPER_CLIENTS = [(5, 2), (7, 3), (6, 2)]
"""K and B of the paper's three experiments."""
papers_clients = pytest.mark.parametrize(("clients", "byzantine"), PAPER_CLIENTS)

CRAFTED = ["alie", "ipm", "fang"]
crafted = pytest.mark.parametrize("attack", CRAFTED)


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


def attacked_rounds(clients: int, byzantine: int, attack: str, columns: int = 200) -> list[Tensor]:
    """Four rounds of such rows."""
    return [attacked_rows(clients, byzantine, attack, seed, columns) for seed in range(4)]


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
