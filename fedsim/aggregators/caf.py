"""CAF: a filter that turns down whoever spreads most along the direction of largest variance."""

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.aggregators.krum import TIE
from fedsim.round_context import RoundContext
from fedsim.update_matrix import UpdateMatrix

SAME_VARIANCE = 1e-9
"""Eigenvalues closer than this, relatively, are one eigenvalue with several directions."""


def largest_variance(squared_distances: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Top eigenvalue of the weighted covariance, and how far [n] each row lies along its direction.

    The eigenvectors of the D x D covariance follow from those of the n x n Gram matrix of the rows less their
    weighted mean, and that matrix from the distances. Several directions of the same variance span a space; of
    the rows that lie nearest to it, the first decides the direction.

    Args:
        squared_distances: [n, n], float64.
        weights: [n], not negative and not all 0; what is said of a row of weight 0 means nothing.

    Returns:
        The eigenvalue, and the deviations from the mean along the direction in an arbitrary unit.

    >>> squared_distances = torch.tensor([[0.0, 1.0, 25.0], [1.0, 0.0, 16.0], [25.0, 16.0, 0.0]]).double()
    >>> variance, deviations = largest_variance(squared_distances, torch.ones(3).double())
    >>> round(variance, 6), deviations / deviations.max()    # of 0, 1 and 5 about 2
    (4.666667, tensor([0.6667, 0.3333, 1.0000], dtype=torch.float64))
    """
    share = weights / weights.sum()
    centring = torch.eye(len(share), dtype=share.dtype) - share
    gram = -0.5 * centring @ squared_distances @ centring.T
    root = share.sqrt()
    variances, vectors = torch.linalg.eigh(root[:, None] * gram * root)
    largest = variances[-1]
    top = vectors[:, variances >= largest - SAME_VARIANCE * largest.abs()]
    nearness = top.square().sum(1)
    first = (nearness >= nearness.max() * (1 - SAME_VARIANCE)).tolist().index(True)
    return float(largest.clamp(min=0)), (gram @ (root * (top @ top[first]))).abs()


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
        variance, deviations = largest_variance(squared_distances, weights)
        if variance < least:
            best, least = weights, variance
        furthest = deviations[weights > 0].max()
        if furthest == 0:
            break
        kept = 1 - (deviations / furthest).square()
        weights = weights * torch.where(kept > TIE, kept, 0.0)  # equal rows go together, whatever the rounding
    return best


@aggregators.register("caf", paper="Allouah et al. 2025, Towards Trustworthy FL with Untrusted Participants")
class CovarianceFilter(TolerantAggregator):
    """Weighted mean after a filter along the directions of largest variance that needs no bound; f <= (K-1)/2.

    All weights start at 1. While they sum to more than K-2f, each is multiplied by 1 - tau_k / max tau, tau_k
    the squared deviation of update k from the weighted mean along the top eigenvector of the weighted
    covariance; the mean with the smallest top eigenvalue is the step.

    Two choices are our own: the maximum is over the clients that still have weight (ByzFL: over all), so
    that every pass takes at least one of them away and a huge update without weight cannot hold the filter up;
    where the top eigenvalue is a multiple one, the eigenvector nearest to the lowest client id.

    >>> CovarianceFilter(num_byzantine=1)(torch.tensor([[1.0], [1.0], [1.0], [100.0]]))
    tensor([1.])
    """

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context.dropped)
        by_id = context.in_id_order()
        weights = torch.empty(updates.num_rows, dtype=torch.float64)
        weights[by_id] = filter_weights(updates.squared_distances().cpu()[by_id][:, by_id], f)
        self.diagnostics = Diagnostics(per_client={"weight": weights}, trust=weights)
        return updates.weighted_sum(weights / weights.sum())
