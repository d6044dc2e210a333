"""TIES: trim, elect sign, merge."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.aggregators.fedseca import FEDSECA
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.column_maps import column_map
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import count, sum_rows
from fedsim.updates.quantiles import as_threshold


@aggregators.register(
    "ties",
    Reference(
        authors="Yadav et al.",
        title="TIES-Merging: Resolving Interference When Merging Models",
        year=2023,
        venue="NeurIPS",
        url="https://arxiv.org/abs/2306.01708",
    ),
    FEDSECA,
)
class Ties(Aggregator):
    """Mean of the largest values of each client that agree with the elected sign.

        t_k^j  = g_k^j where |g_k^j| > nu_k, else 0,    nu_k = the ``sparsity``-quantile of |g_k|
        s^j    = sgn(sum_k sgn(t_k^j)), or sgn(sum_k t_k^j) with ``election: magnitude``
        step^j = mean of the t_k^j with s^j t_k^j > 0, 0 where there is none

    K is the number of clients, g_k in R^D the update of client k, g_k^j its coordinate j; the step has the shape
    [D].

    It fails against scaling: nothing limits magnitudes, and one huge value that agrees carries the mean.

    The original merges fine-tuned models and elects by magnitude. ``sign``, the default, is the election that the
    FedSECA paper put in its place, since one Byzantine client wins an election by magnitude; so is the larger
    sparsity. The original scales the merged vector in the end; here the server's learning rate does.

    >>> rows = torch.tensor([[3.0, -1.0, 0.1], [2.0, -2.0, 0.1], [-9.0, 1.0, 0.1]])
    >>> Ties(sparsity=0.4)(rows)    # the third coordinate is trimmed everywhere
    tensor([ 2.5000, -1.5000,  0.0000])
    >>> Ties(sparsity=0.4, election="magnitude")(rows)
    tensor([-9.0000, -1.5000,  0.0000])
    """

    class Settings(Schema):
        sparsity: float = Field(0.9, ge=0, lt=1, description="share of each row that is set to zero")
        election: Literal["sign", "magnitude"] = Field("sign", description="what is summed up to elect a sign")

    settings: Settings
    shardable = True

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        quantiles = updates.absolute_quantiles(self.settings.sparsity)
        threshold = as_threshold(quantiles, updates.dtype, inclusive=False)[:, None]
        step, tally = updates.map_columns_with_tally(elect_and_merge, threshold, self.settings.election == "sign")
        undecided, survived, agreed = tally.split([1, updates.num_rows, updates.num_rows])
        self.diagnostics = Diagnostics(
            per_client={"agreed_share": agreed / survived.clamp(min=1)},
            scalars={"undecided_share": int(undecided) / updates.num_columns},
        )
        return step


@column_map
def elect_and_merge(block: Tensor, threshold: Tensor, by_sign: bool) -> tuple[Tensor, Tensor]:
    """The step [b], and how many coordinates are undecided, and of each client survive and agree [1 + 2 K]."""
    survives = block.abs().gt_(threshold)  # as numbers 1 and 0
    signs = block.sign().mul_(survives)
    elected = (signs.sum(0) if by_sign else sum_rows(block * survives)).sign()
    agrees = (signs * elected.to(block.dtype)).clamp_(min=0)
    mean = sum_rows(block * agrees) / count(agrees, dim=0).clamp(min=1)
    tally = torch.cat([count(survives, dim=1), count(agrees, dim=1)])
    return mean, torch.cat([(elected == 0).sum()[None], tally.long()])
