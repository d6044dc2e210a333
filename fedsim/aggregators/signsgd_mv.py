"""signSGD with majority vote, and the step of fixed size along elected signs."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.column_maps import column_map
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import count

Scale = Annotated[float, Field(gt=0)] | Literal["auto"]

SCALE_HELP = "size of every coordinate of the step; auto: the median client's mean magnitude"


def typical_magnitude(updates: UpdateMatrix) -> float:
    """Lower median over the clients of ||g_k||_1 / D.

    >>> typical_magnitude(UpdateMatrix(torch.tensor([[1.0, -3.0], [0.0, 1.0], [900.0, 900.0]])))
    2.0
    """
    sums = updates.sum_over_blocks(lambda block: block.double().abs().sum(1))
    return float(sums.median()) / updates.num_columns


@column_map
def vote(block: Tensor, polls: Tensor | None) -> tuple[Tensor, Tensor]:
    """The elected signs [b], and how many are undecided, and of each client vote and agree [1 + 2 K].

    Args:
        polls: how often each node asks each client [nodes, K]; the nodes then vote. None: the clients do.
    """
    signs = block.sign().float()
    voters = signs if polls is None else (polls @ signs).sign()  # small integers, exact in float32
    elected = voters.sum(0).sign()
    agrees = (signs * elected).clamp_(min=0)
    tally = torch.cat([count(signs.abs(), dim=1), count(agrees, dim=1)])
    return elected, torch.cat([(elected == 0).sum()[None], tally.long()])


def step_along_signs(
    updates: UpdateMatrix, scale: float | Literal["auto"], polls: Tensor | None = None
) -> tuple[Tensor, Diagnostics]:
    """The step that ``scale`` makes of the elected signs, and how the election went.

    Args:
        polls: see :func:`vote`.
    """
    size = typical_magnitude(updates) if scale == "auto" else scale
    elected, tally = updates.map_columns_with_tally(vote, polls)
    undecided, voted, agreed = tally.split([1, updates.num_rows, updates.num_rows])
    return elected.mul_(size), Diagnostics(
        per_client={"agreed_share": agreed / voted.clamp(min=1)},
        scalars={"scale": size, "undecided_share": int(undecided) / updates.num_columns},
    )


@aggregators.register(
    "signsgd_mv",
    Reference(
        authors="Bernstein, Zhao, Azizzadenesheli and Anandkumar",
        title="signSGD with Majority Vote is Communication Efficient and Fault Tolerant",
        year=2019,
        venue="ICLR",
        url="https://arxiv.org/abs/1810.05291",
    ),
)
class SignSGDMajorityVote(Aggregator):
    """Sign that most clients give a coordinate, times one size for all coordinates.

        step^j = c sgn(sum_k sgn(g_k^j)),    c = ``scale``, or median_k ||g_k||_1 / D with ``auto``

    K is the number of clients, g_k in R^D the update of client k, g_k^j its coordinate j; the step has the shape
    [D] and is 0 where the vote is tied.

    It fails where honest clients disagree on a sign, as with heterogeneous data: few Byzantine votes then decide it.
    The majority's sign need not be that of the mean either, as magnitudes do not count.

    In the original the clients send signs only and the server's learning rate is the size. Here they send whole
    updates; ``scale: auto`` [ours], the lower median over the clients, makes the step as long as a typical update.

    >>> SignSGDMajorityVote(scale=0.5)(torch.tensor([[3.0, -1.0, 2.0], [1.0, -9.0, 0.0], [-2.0, -1.0, -2.0]]))
    tensor([ 0.5000, -0.5000,  0.0000])
    """

    class Settings(Schema):
        scale: Scale = Field("auto", description=SCALE_HELP)

    settings: Settings
    shardable = True

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        step, self.diagnostics = step_along_signs(updates, self.settings.scale)
        return step
