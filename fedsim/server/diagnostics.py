"""What a round looks like to someone who knows the truth: who was honest, and how far the aggregate went astray."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows


def detection_auc(trust: Tensor, clients: Sequence[int], byzantine: Collection[int]) -> float | None:
    """Area under the ROC curve of telling Byzantine from honest clients by little trust.

    It is the share of (honest, Byzantine) pairs in which the honest client got more trust, a tie counting half:
    1 separates all, 0.5 is chance, 0 trusts the wrong ones. None where one of the two sides is missing.

    Args:
        trust: weight in [0, 1] that the aggregator gave each row [K].
        clients: whose row is at which position.

    >>> detection_auc(torch.tensor([0.9, 0.2, 0.2, 0.0]), clients=[0, 1, 2, 3], byzantine=[2, 3])
    0.875
    """
    attacks = torch.tensor([client in byzantine for client in clients])
    honest, hostile = trust[~attacks].double(), trust[attacks].double()
    if len(honest) == 0 or len(hostile) == 0:
        return None
    gap = honest[:, None] - hostile
    return float(((gap > 0).double() + (gap == 0).double() / 2).mean())


def cosines_to_honest_mean(updates: UpdateMatrix, honest: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Cosine of every row to the mean of the honest ones [K], and the spread of the honest rows, both float64.

    The spread is the root mean square distance of the honest rows to their mean. The cosine with a zero row is 0.

    Args:
        honest: positions of the honest rows, at least one.

    >>> rows = torch.tensor([[3.0, 1.0], [3.0, -1.0], [-2.0, 0.0]])
    >>> cosines, spread = cosines_to_honest_mean(UpdateMatrix(rows), honest=[0, 1])
    >>> [round(value, 3) for value in cosines.tolist()], float(spread)
    ([0.949, 0.949, -1.0], 1.0)
    """
    rows = list(honest)

    def products(block: Tensor) -> Tensor:
        mean = sum_rows(block[rows]) / len(rows)
        deviations = (block[rows].double() - mean).square_().sum()
        return torch.cat([block.double() @ mean, mean.square().sum()[None], deviations[None]])

    sums = updates.sum_over_blocks(products)
    dots, squared_mean, deviations = sums[:-2], sums[-2], sums[-1]
    lengths = updates.row_norms() * squared_mean.sqrt()
    return torch.where(lengths > 0, dots / lengths, 0 * dots), (deviations / len(rows)).sqrt()
