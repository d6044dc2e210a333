"""The honest mean, a direction away from it, and all that the constraints on such an attack need, in one pass.

The attacks of Shejwalkar and Houmansadr send x = mu + gamma p, mu [D] being the mean of the H honest rows g_i and p
[D] a direction that opposes them. Min-Max and Min-Sum bound the squared distances of x to the honest rows, which are
quadratic in gamma:

    ||x - g_i||^2 = a_i + 2 gamma b_i + gamma^2 P,    a_i = ||mu - g_i||^2,  b_i = p . (mu - g_i),  P = ||p||^2,

so that the largest gamma needs a, b, P and the distances of the honest rows to each other, and no search.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fedsim.attacks.probe import Line
from fedsim.registry import Reference
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows

SHEJWALKAR_2021 = Reference(
    authors="Shejwalkar and Houmansadr",
    title="Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for Federated Learning",
    year=2021,
    venue="NDSS",
    url="https://doi.org/10.14722/ndss.2021.24498",
)

Direction = Literal["unit", "sign", "std"]

DIRECTION_HELP = "p, where the mean is pushed: unit: -mean/||mean||; sign: -sgn(mean); std: -standard deviation"


@dataclass(frozen=True)
class Perturbation:
    """The line x(gamma) = mean + gamma p, and how the honest rows g_i lie about it, in float64.

    Attributes:
        line: mean and p, [D] each.
        squared_distances: ||g_i - g_j||^2 [H, H].
        to_mean: a_i = ||mean - g_i||^2 [H].
        along: b_i = p . (mean - g_i) [H].
        squared_length: P = ||p||^2; 0 if there is no direction.
    """

    line: Line
    squared_distances: Tensor
    to_mean: Tensor
    along: Tensor
    squared_length: float


def perturbation(honest: UpdateMatrix, direction: Direction) -> Perturbation:
    """One pass over the honest rows [H, D], H >= 1.

    Rows are seen from their mean, block by block: among honest rows there is no attacker to carry it away.

    >>> found = perturbation(UpdateMatrix(torch.tensor([[3.0, 0.0], [3.0, 8.0]])), "unit")
    >>> found.line.base, found.line.direction
    (tensor([3., 4.]), tensor([-0.6000, -0.8000]))
    >>> found.to_mean, found.along, found.squared_length
    (tensor([16., 16.], dtype=torch.float64), tensor([-3.2000,  3.2000], dtype=torch.float64), 1.0)
    """
    count = honest.num_rows

    def mean_and_direction(block: Tensor) -> tuple[Tensor, Tensor]:
        mean = sum_rows(block).div_(count)
        centred = block.double() - mean
        p = _direction(mean, centred, direction)
        tally = torch.cat([(centred @ centred.T).flatten(), -(centred @ p), (p @ p)[None]])
        return torch.stack([mean, p]) if direction == "std" else mean[None], tally

    values, tally = honest.map_columns_with_tally(mean_and_direction, height=2 if direction == "std" else 1)
    products, along, square = tally.cpu().split([count * count, count, 1])
    gram, squared_length = products.view(count, count), float(square)
    mean = values[0]
    p = values[1] if direction == "std" else -(mean.sign() if direction == "sign" else mean)
    if direction == "unit" and squared_length > 0:
        p, along, squared_length = p.div_(squared_length**0.5), along / squared_length**0.5, 1.0
    squares = gram.diagonal()
    distances = (squares[:, None] + squares - (gram + gram.T)).clamp(min=0).fill_diagonal_(0)
    return Perturbation(Line(mean, p), distances, squares.clone(), along, squared_length)


def _direction(mean: Tensor, centred: Tensor, direction: Direction) -> Tensor:
    """p [b] of a block, float64; for ``unit`` before it is brought to length one."""
    if direction == "unit":
        return -mean
    if direction == "sign":
        return -mean.sign()
    return -(centred.square().sum(0) / max(1, len(centred) - 1)).sqrt()


def largest_gamma(along: Tensor, squared_length: float, room: Tensor) -> float:
    """The largest gamma with gamma^2 P + 2 gamma b_i <= room_i for every i; 0 without a direction.

    Args:
        along: b [n], float64.
        squared_length: P.
        room: [n], not negative but for rounding.

    >>> largest_gamma(torch.tensor([0.0, 1.0]).double(), 1.0, torch.tensor([9.0, 8.0]).double())
    2.0
    """
    if squared_length == 0:
        return 0.0
    room = room.clamp(min=0)
    roots = (along.square() + squared_length * room).sqrt()
    # Where b is positive, root - b would cancel.
    gammas = torch.where(along > 0, room / (along + roots), (roots - along) / squared_length)
    return float(gammas.min())
