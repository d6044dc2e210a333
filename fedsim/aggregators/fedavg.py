"""Federated averaging: the mean, without any defence."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, aggregators, warn_of_reported_counts
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@aggregators.register("fedavg")
class FedAvg(Aggregator):
    """Mean of the updates; one Byzantine client moves it anywhere.

    >>> import torch
    >>> rows = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    >>> FedAvg()(rows)
    tensor([2., 4.])
    >>> FedAvg(weighting="samples")(rows, RoundContext(client_ids=(0, 1), sample_counts=(30, 10)))
    tensor([1.5000, 3.0000])
    """

    commutes_with_rotations = True

    class Settings(Schema):
        weighting: Literal["uniform", "samples"] = Field(
            "uniform", description="samples: by the sample counts that the clients report, honest or not"
        )

    settings: Settings

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        if self.settings.weighting == "uniform":
            return updates.mean()
        counts = context.reported_counts("weighting: samples")
        return updates.weighted_sum(counts / counts.sum())

    def check(self, num_rows: int) -> None:
        if self.settings.weighting == "samples":
            warn_of_reported_counts("weighting: samples")
