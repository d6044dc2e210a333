"""Distance-based outlier suppression with COPOD scores."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.registry import Reference
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_statistics import RowStatistic

TIE = 1e-9
"""Distances closer than this, relatively, may differ by the rounding of a float64 Gram matrix only."""

PARALLEL = 1e-20
"""Cosine distances below this are those of parallel rows, which unit length has rounded."""


def copod_scores(samples: Tensor) -> Tensor:
    """COPOD outlier score [n] of each row of ``samples`` [n, d] (Li et al. 2020): the larger, the more unusual.

    Each column gives a tail probability by its left and by its right empirical distribution function.
    The column's skewness says which tail counts (both, if it is zero), but no less than their mean does;
    the score is the sum of the negative logarithms.

    >>> copod_scores(torch.tensor([[1.0], [2.0], [4.0], [40.0]], dtype=torch.float64))
    tensor([0.6931, 0.4904, 0.6931, 1.3863], dtype=torch.float64)
    """
    columns = samples.T.contiguous()
    slack = TIE * columns.abs()
    ordered, count = columns.sort(dim=1).values, columns.shape[1]
    not_above = torch.searchsorted(ordered, columns + slack, right=True)
    below = torch.searchsorted(ordered, columns - slack)
    left = -(not_above.double() / count).log()
    right = -((count - below).double() / count).log()
    skewness = _skewness_sign(columns)[:, None]
    corrected = left * (skewness < 1) + right * (skewness > -1)
    return torch.maximum(corrected, (left + right) / 2).sum(0)


def _skewness_sign(columns: Tensor) -> Tensor:
    """Sign [d] of the skewness of each row of ``columns`` [d, n]; 0 where rounding could have made it."""
    deviations = columns - columns.mean(1, keepdim=True)
    second, third = deviations.square().mean(1), deviations.pow(3).mean(1)
    rounding = 3 * TIE * columns.abs().amax(1) * second
    return third.sign() * (third.abs() > rounding)


def cosine_distances(updates: UpdateMatrix) -> Tensor:
    """1 - cosine of each pair of rows [K, K], float64, on the CPU, zero diagonal; the cosine with a zero row is 0."""
    norms = updates.row_norms().cpu()
    # Half the squared distance of the unit rows: 1 - cosine would cancel for rows that are nearly parallel.
    units = updates.scale(1 / torch.where(norms > 0, norms, 1.0), torch.float64)
    distances = units.squared_distances() / 2
    distances[distances < PARALLEL] = 0
    distances[norms == 0, :] = distances[:, norms == 0] = 1
    return distances.fill_diagonal_(0)


@aggregators.register(
    "copod_dos",
    Reference(
        authors="Alkhunaizi, Kamzolov, Takáč and Nandakumar",
        title="Suppressing Poisoning Attacks on Federated Learning for Medical Imaging",
        year=2022,
        venue="MICCAI",
        url="https://arxiv.org/abs/2207.10804",
    ),
    Reference(
        authors="Li et al.",
        title="COPOD: Copula-Based Outlier Detection",
        year=2020,
        venue="ICDM",
        url="https://arxiv.org/abs/2009.09463",
    ),
)
class CopodDos(Aggregator):
    """Mean weighted by how usual each client's distances to all others are.

        step = sum_k w_k g_k,    w = softmax(-(a + b))

    K is the number of clients, g_k in R^D the update of client k; a_k and b_k are the COPOD outlier scores of row k
    of two K x K matrices, of the distances ||g_k - g_l|| and of the cosine distances 1 - cos(g_k, g_l), their zero
    diagonals included. The step has the shape [D].

    It fails where data are heterogeneous: an honest client far from the others is suppressed like a Byzantine one.
    With few clients the weights come close to one client's alone; this is the method, not a fault.

    Distances that are equal up to rounding count as equal, so that identical updates get identical weights, and the
    cosine with a zero update is 0 [ours]. The released code of FedSECA takes distances and cosines of the weights;
    here they are those of the updates, whose directions the weights would hide.

    >>> aggregator = CopodDos()
    >>> aggregator(torch.tensor([[1.0], [2.0], [4.0]]))    # (4 * 1 + 4 * 2 + 1 * 4) / 9
    tensor([1.7778])
    >>> aggregator.diagnostics.per_client["score"].exp()    # 27/4, 27/4 and 27
    tensor([ 6.7500,  6.7500, 27.0000], dtype=torch.float64)
    """

    commutes_with_rotations = True
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("norms",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        euclidean = copod_scores(updates.squared_distances().sqrt())
        cosine = copod_scores(cosine_distances(updates))
        scores = euclidean + cosine
        weights = torch.softmax(-scores, dim=0)
        self.diagnostics = Diagnostics(
            per_client={"score": scores, "euclidean_score": euclidean, "cosine_score": cosine, "weight": weights},
            trust=weights / weights.max(),
        )
        return updates.weighted_sum(weights)
