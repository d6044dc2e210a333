"""Static clipping."""

import torch
from pydantic import Field

from fedsim.aggregators.pre import PreAggregator, pre_aggregators
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


def clip_rows(updates: UpdateMatrix, radius: float) -> UpdateMatrix:
    """The rows scaled down to norm ``radius`` where they are longer; a zero row stays zero.

    >>> clip_rows(UpdateMatrix(torch.tensor([[3.0, 4.0], [0.5, 0.0], [0.0, 0.0]])), 1.0).tensor()
    tensor([[0.6000, 0.8000],
            [0.5000, 0.0000],
            [0.0000, 0.0000]])
    """
    norms = updates.row_norms()
    longer = norms > radius
    return updates.scale(torch.where(longer, radius / norms, 1.0)) if bool(longer.any()) else updates


@pre_aggregators.register(
    "clipping",
    Reference(
        authors="Sun, Kairouz, Suresh and McMahan",
        title="Can You Really Backdoor Federated Learning?",
        year=2019,
        venue="arXiv",
        url="https://arxiv.org/abs/1911.07963",
    ),
)
class Clipping(PreAggregator):
    """Updates longer than a fixed radius are scaled down to it.

        y_k = g_k min(1, C / ||g_k||)

    g_k in R^D is the update of client k, C the ``radius``; rows of the same shape [K, D] come out, and a zero row
    stays zero.

    It fails where C does not fit the run: above all norms it does nothing, below the honest ones it takes away their
    lengths, and norms change as training goes on (``arc`` adapts). Directions are left as they are.

    The original calls it norm thresholding and takes the mean of the clipped updates; here any rule may follow.

    >>> rows = UpdateMatrix(torch.tensor([[3.0, 4.0], [0.5, 0.0]]))
    >>> Clipping(radius=1)(rows, RoundContext.of(2))[0].tensor()
    tensor([[0.6000, 0.8000],
            [0.5000, 0.0000]])
    """

    commutes_with_rotations = True

    class Settings(Schema):
        radius: float = Field(2.0, gt=0, description="the largest norm that an update keeps")

    settings: Settings
    shardable = True

    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        return clip_rows(updates, self.settings.radius), context
