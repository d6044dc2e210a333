"""CAF: a filter that lowers the weight of the updates furthest out along the direction of largest variance."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.registry import Reference
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.rounding import TIE
from fedsim.updates.row_statistics import RowStatistic

FEW_ROWS = 64
"""Up to so many rows all eigenvectors are computed, beyond it only the top one."""

SAME_VARIANCE = 1e-9
"""Eigenvalues closer than this, relatively, are one eigenvalue with several directions."""


def largest_variance(squared_distances: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Top eigenvalue of the weighted covariance, and how far [n] each row lies along its direction.

    The eigenvectors of the D x D covariance follow from those of the n x n Gram matrix of the rows less their
    weighted mean, and that matrix from the distances. Several directions of the same variance span a space; of
    the rows that lie nearest to it, the first decides the direction.

    Args:
        squared_distances: [n, n], float64.
        weights: [n], positive.

    Returns:
        The eigenvalue, and the deviations from the mean along the direction in an arbitrary unit.

    >>> squared_distances = torch.tensor([[0.0, 1.0, 25.0], [1.0, 0.0, 16.0], [25.0, 16.0, 0.0]]).double()
    >>> variance, deviations = largest_variance(squared_distances, torch.ones(3).double())
    >>> round(variance, 6), deviations / deviations.max()    # of 0, 1 and 5 about 2
    (4.666667, tensor([0.6667, 0.3333, 1.0000], dtype=torch.float64))
    """
    share = weights / weights.sum()
    to_mean = squared_distances @ share  # up to the same number for all rows
    gram = -0.5 * (squared_distances - (to_mean[:, None] + to_mean) + share @ to_mean)
    root = share.sqrt()
    largest, top = _top_eigenvectors(root[:, None] * gram * root)
    nearness = top.square().sum(1)
    first = (nearness >= nearness.max() * (1 - SAME_VARIANCE)).tolist().index(True)
    return max(0.0, largest), (gram @ (root * (top @ top[first]))).abs()


def _top_eigenvectors(symmetric: Tensor) -> tuple[float, Tensor]:
    """The largest eigenvalue of a matrix [n, n], and orthonormal vectors [n, m] that span its space.

    Of a large matrix only one vector is looked for, by Lanczos' method: all of them would take seconds.
    """
    if len(symmetric) > FEW_ROWS:
        from scipy.sparse.linalg import eigsh  # heavy

        values, vectors = eigsh(symmetric.numpy(), k=1, which="LA", v0=np.arange(1.0, len(symmetric) + 1))
        return float(values[0]), torch.from_numpy(vectors)
    variances, eigenvectors = torch.linalg.eigh(symmetric)
    largest = variances[-1]
    return float(largest), eigenvectors[:, variances >= largest - SAME_VARIANCE * largest.abs()]


def filter_weights(squared_distances: Tensor, f: int) -> Tensor:
    """The weights [n] in [0, 1] of the mean around which the largest variance was smallest.

    >>> rows = torch.tensor([[0.0], [1.0], [2.0], [100.0]], dtype=torch.float64)
    >>> filter_weights(torch.cdist(rows, rows) ** 2, f=1)[3]
    tensor(0., dtype=torch.float64)
    """
    n = len(squared_distances)
    weights = best = torch.ones(n, dtype=torch.float64)
    least = torch.inf
    while weights.sum() > (n - 2 * f) * (1 + TIE):
        counted = weights.nonzero().flatten()
        variance, deviations = largest_variance(squared_distances[counted][:, counted], weights[counted])
        if variance < least:
            best, least = weights, variance
        furthest = deviations.max()
        if furthest == 0:
            break
        kept = 1 - (deviations / furthest).square()
        kept = torch.where(kept > TIE, kept, 0.0)  # equal rows go together, whatever the rounding
        weights = weights.clone()
        weights[counted] *= kept
    return best


@aggregators.register(
    "caf",
    Reference(
        authors="Allouah, Guerraoui and Stephan",
        title="Towards Trustworthy Federated Learning with Untrusted Participants",
        year=2025,
        venue="ICML",
        url="https://arxiv.org/abs/2505.01874",
    ),
)
class CovarianceFilter(TolerantAggregator):
    """Weighted mean after a filter along the directions of largest variance.

        m     = sum_k c_k g_k / sum_k c_k
        c_k <- c_k (1 - tau_k / max_l tau_l),    tau_k = ((g_k - m) . u)^2,    while sum_k c_k > K-2f

    K is the number of clients, g_k in R^D the update of client k, c_k its weight, 1 at first, u the top eigenvector
    of the c-weighted covariance about m, f (``num_byzantine``) <= (K-1)/2 the number of Byzantine clients to defend
    against. The step, of shape [D], is the m with the smallest top eigenvalue. No bound on the honest variance is
    needed.

    It fails against attacks that do not widen the spread: what lies inside the honest variance keeps its weight.

    Two choices are our own: the maximum is over the clients that still have weight (ByzFL: over all), so that every
    pass takes at least one of them away and a huge update without weight cannot hold the filter up; where the top
    eigenvalue is a multiple one, the eigenvector nearest to the lowest client id.

    >>> CovarianceFilter(num_byzantine=1)(torch.tensor([[1.0], [1.0], [1.0], [100.0]]))
    tensor([1.])
    """

    commutes_with_rotations = True

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("gram",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context)
        by_id = context.in_id_order()
        weights = torch.empty(updates.num_rows, dtype=torch.float64)
        weights[by_id] = filter_weights(updates.squared_distances().cpu()[by_id][:, by_id], f)
        self.diagnostics = Diagnostics(per_client={"weight": weights}, scalars={"num_byzantine": f}, trust=weights)
        return updates.weighted_sum(weights / weights.sum())
