"""Static clipping."""

import torch
from pydantic import Field

from fedsim.aggregators.pre import PreAggregator, pre_aggregators
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


@pre_aggregators.register("clipping")
class Clipping(PreAggregator):
    """Updates longer than a radius are scaled down to it.

    >>> rows = UpdateMatrix(torch.tensor([[3.0, 4.0], [0.5, 0.0]]))
    >>> Clipping(radius=1)(rows, RoundContext.of(2))[0].tensor()
    tensor([[0.6000, 0.8000],
            [0.5000, 0.0000]])
    """

    commutes_with_rotations = True

    class Settings(Schema):
        radius: float = Field(2.0, gt=0, description="the largest norm that an update keeps")

    settings: Settings

    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        return clip_rows(updates, self.settings.radius), context
