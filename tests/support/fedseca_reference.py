"""FedSECA with every setting, Eq. 4-11 one coordinate after the other, in float64."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from support.references import Array, lower_middle, sign


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
