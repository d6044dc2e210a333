"""What a round looks like to someone who knows the truth: who was honest, and how far the aggregate went astray."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsim.updates.gram import NEAR
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_statistics import squared_deviations

STRIP = 1 << 18
"""Values of a block that are widened to float64 at once on a CPU, where 2 MiB stay in cache; a GPU takes all."""

NARROWEST_STRIP = 256
"""Columns; of narrower strips the calls would cost more than the arithmetic."""


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


@dataclass(frozen=True)
class HonestMean:
    """The mean of the honest rows, and how the rows lie to it.

    Attributes:
        mean: [local_columns], in the rows' dtype.
        cosines: of every row to the mean [K], float64; 0 where one of the two is zero.
        spread: root mean square distance of the honest rows to the mean, float64.
    """

    mean: Tensor
    cosines: Tensor
    spread: Tensor

    @classmethod
    def of(cls, updates: UpdateMatrix, honest: Sequence[int]) -> "HonestMean":
        """It takes one pass over the rows; a second one over the honest rows where these nearly coincide.

        Args:
            updates: finite rows.
            honest: positions of the honest ones, at least one.

        >>> found = HonestMean.of(UpdateMatrix(torch.tensor([[3.0, 1.0], [3.0, -1.0], [-2.0, 0.0]])), honest=[0, 1])
        >>> found.mean.tolist(), [round(value, 3) for value in found.cosines.tolist()], round(float(found.spread), 9)
        ([3.0, 0.0], [0.949, 0.949, -1.0], 1.0)
        """
        chosen = torch.zeros(updates.num_rows, dtype=torch.float64, device=updates.device)
        chosen[list(honest)] = 1
        mean, sums = updates.map_columns_with_tally(_mean_and_products, chosen)
        products, squared_length = sums[:-1], sums[-1]
        norms = updates.row_norms()
        lengths = norms * squared_length.sqrt()
        cosines = torch.where(lengths > 0, products / lengths, 0 * products)
        mean_square = norms.square() @ chosen / len(honest)
        variance = mean_square - squared_length
        if float(variance) < NEAR * float(mean_square):  # rounding would eat what is left of the difference
            variance = updates.select(honest).sum_over_blocks(squared_deviations) / len(honest)
        return cls(mean, cosines, variance.sqrt())

    def distance(self, updates: UpdateMatrix, vector: Tensor) -> Tensor:
        """Distance of a vector [local_columns] over the columns of ``updates`` to the mean, float64."""
        return updates.sum_over([vector, self.mean], _squared_distance).sqrt()


def _mean_and_products(block: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [b] of the rows with a one in ``chosen`` [K]; then the products of all rows, and its own, with it."""
    mean = block.new_empty(block.shape[1], dtype=torch.float64)
    products = block.new_zeros(len(block), dtype=torch.float64)
    count = chosen.sum()
    width = block.shape[1] if block.is_cuda else max(NARROWEST_STRIP, STRIP // len(block))
    for strip, of_strip in zip(block.split(width, dim=1), mean.split(width), strict=True):
        wide = strip.double()
        torch.mv(wide.T, chosen, out=of_strip).div_(count)
        products.addmv_(wide, of_strip)
    return mean, torch.cat([products, mean.square().sum()[None]])


def _squared_distance(one: Tensor, other: Tensor) -> Tensor:
    return torch.linalg.vector_norm(one.double().sub_(other)).square_()
