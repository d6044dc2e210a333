"""A pre-aggregator: it changes the rows in front of any aggregator.

`fedsim --plugin my_pre_aggregator.py "aggregator.pre=[{name: my_pre_aggregator, factor: 1.5}]"`
"""

import torch
from pydantic import Field

from fedsim.aggregators import RoundContext, Schema, UpdateMatrix
from fedsim.aggregators.pre import PreAggregator, pre_aggregators


@pre_aggregators.register("my_pre_aggregator")
class MyPreAggregator(PreAggregator):
    """No row is longer than ``factor`` times the median row."""

    class Settings(Schema):
        factor: float = Field(2.0, gt=0, description="largest length of a row, in that of the median row")

    settings: Settings

    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        lengths = updates.row_norms()  # [K]
        limit = self.settings.factor * lengths.median()
        return updates.scale(torch.where(lengths > limit, limit / lengths, 1.0)), context
