"""Scores of rows by the distances to their nearest neighbours, and the choice of the best."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.updates.rounding import TIE


def krum_scores(squared_distances: Tensor, f: int) -> Tensor:
    """Score [n] of each row: the sum of its n-f-2 (at least one) smallest distances to other rows.

    Args:
        squared_distances: [n, n], zero diagonal.
        f: how many Byzantine rows to defend against.

    >>> krum_scores(torch.tensor([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]), f=0)
    tensor([1., 1., 4.])
    """
    n = len(squared_distances)
    if n == 1:
        return torch.zeros_like(squared_distances[0])
    others = squared_distances.clone().fill_diagonal_(torch.inf)
    neighbours = min(max(1, n - f - 2), n - 1)
    return others.sort(dim=1).values[:, :neighbours].sum(1)


def smallest(values: Tensor, count: int, client_ids: Sequence[int]) -> Tensor:
    """Mask [..., n] of the ``count`` smallest values along the last dimension, ties to the lower client id.

    Args:
        values: [..., n], float64; those that differ by the rounding of a sum only count as tied.

    >>> smallest(torch.tensor([5.0, 1.0, 5.0, 9.0]), 2, client_ids=[7, 8, 3, 4])
    tensor([False,  True,  True, False])
    """
    last = values.sort(dim=-1).values[..., count - 1 : count]
    surely = values < last * (1 - TIE)
    tied = (values <= last * (1 + TIE)) & ~surely
    by_id = torch.tensor(client_ids, device=values.device).argsort()
    place_among_tied = tied[..., by_id].cumsum(-1)[..., by_id.argsort()]
    return surely | tied & (place_among_tied <= count - surely.sum(-1, keepdim=True))


def krum_selection(squared_distances: Tensor, f: int, rounds: int, client_ids: Sequence[int]) -> list[int]:
    """The rows that ``rounds`` rounds of Krum take, each from what the rounds before it left, in that order.

    >>> rows = torch.tensor([[0.0], [1.0], [2.5], [9.0]])
    >>> krum_selection(torch.cdist(rows, rows).double() ** 2, f=0, rounds=3, client_ids=range(4))
    [1, 0, 2]
    """
    left, selected = list(range(len(squared_distances))), []
    for _ in range(rounds):
        scores = krum_scores(squared_distances[left][:, left], f)
        best = smallest(scores, 1, [client_ids[row] for row in left]).tolist().index(True)
        selected.append(left.pop(best))
    return selected
