"""Minimum-diameter averaging."""

from bisect import bisect_left
from collections.abc import Sequence
from math import comb

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.registry import Reference
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.rounding import TIE
from fedsim.updates.row_statistics import RowStatistic

MOST_SUBSETS = 10**6


def most_tolerated(num_rows: int) -> int:
    """The largest f <= (K-1)/2 that leaves at most a million subsets of K-f rows.

    >>> [most_tolerated(num_rows) for num_rows in (1, 5, 22, 23, 50)]
    [0, 2, 10, 9, 4]
    """
    f = 0
    while f < (num_rows - 1) // 2 and comb(num_rows, f + 1) <= MOST_SUBSETS:
        f += 1
    return f


def first_without_conflict(rows: list[int], conflicts: Sequence[Sequence[bool]], spare: int) -> list[int] | None:
    """The rows that remain when at most ``spare`` are left out and no two of the others conflict.

    Among the possible answers it is the first in lexicographic order; None if there is none. Each call either
    ends or uses up a spare row, so 2^spare calls are the most.

    >>> first_without_conflict([0, 1, 2], [[False, True, False], [True, False, False], [False] * 3], spare=1)
    [0, 2]
    """
    for place, row in enumerate(rows):
        later = rows[place + 1 :]
        compatible = [other for other in later if not conflicts[row][other]]
        lost = len(later) - len(compatible)
        if lost == 0:
            continue
        with_row = first_without_conflict(compatible, conflicts, spare - lost) if lost <= spare else None
        if with_row is not None:
            return [*rows[: place + 1], *with_row]
        without = first_without_conflict(later, conflicts, spare - 1) if spare > 0 else None
        return None if without is None else [*rows[:place], *without]
    return rows


def least_diameter(squared_distances: Tensor, f: int) -> list[int]:
    """The n-f rows of smallest diameter; of several such sets the first in lexicographic order.

    >>> rows = torch.tensor([[0.0], [5.0], [6.0], [1.5]])
    >>> least_diameter(torch.cdist(rows, rows).double() ** 2, f=2)
    [1, 2]
    """
    everyone = list(range(len(squared_distances)))

    def within(diameter: float) -> list[int] | None:
        too_far = squared_distances > diameter * (1 + TIE)
        return first_without_conflict(everyone, too_far.tolist(), f)

    diameters: list[float] = squared_distances.unique().tolist()  # from small to large
    least = diameters[bisect_left(diameters, True, key=lambda diameter: within(diameter) is not None)]
    return (within(least) or [])[: len(everyone) - f]


@aggregators.register(
    "mda",
    Reference(
        authors="El Mhamdi et al.",
        title="Genuinely Distributed Byzantine Machine Learning",
        year=2020,
        venue="PODC",
        url="https://arxiv.org/abs/1905.03853",
    ),
)
class MinimumDiameterAveraging(TolerantAggregator):
    """Mean of the K-f updates of smallest diameter.

        step = mean of the g_k, k in S,    S = the set of K-f clients with the smallest max ||g_k - g_l||, k, l in S

    K is the number of clients, g_k in R^D the update of client k, f (``num_byzantine``) the number of Byzantine
    clients to defend against; the step has the shape [D].

    It fails where data are heterogeneous: the f honest clients furthest out are left out before a Byzantine update
    inside the spread of the others is. The number of sets grows exponentially with f.

    f is at most (K-1)/2 and leaves at most a million sets of that size [ours], so that a round ends: from 23 clients
    on this is less than (K-1)/2, also where no f is given. Of several sets with the same diameter it takes the first
    in lexicographic order of the client ids [ours].

    >>> MinimumDiameterAveraging(num_byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [-50.0]]))
    tensor([2.])
    """

    commutes_with_rotations = True

    largest_f = staticmethod(most_tolerated)
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("gram",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context)
        by_id = context.in_id_order()
        chosen = [by_id[place] for place in least_diameter(updates.squared_distances().cpu()[by_id][:, by_id], f)]
        weights = torch.zeros(updates.num_rows)
        weights[chosen] = 1
        self.diagnostics = Diagnostics(per_client={"selected": weights}, scalars={"num_byzantine": f}, trust=weights)
        return updates.select(chosen).mean()
