"""Federated averaging: the mean, without any defence."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, aggregators, warn_of_reported_counts
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@aggregators.register(
    "fedavg",
    Reference(
        authors="McMahan et al.",
        title="Communication-Efficient Learning of Deep Networks from Decentralized Data",
        year=2017,
        venue="AISTATS",
        url="https://arxiv.org/abs/1602.05629",
    ),
)
class FedAvg(Aggregator):
    """Mean of the updates, without any defence.

        step = p_1 g_1 + ... + p_K g_K,    p_k = 1/K, or n_k / (n_1 + ... + n_K) with ``weighting: samples``

    K is the number of clients, g_k in R^D the update of client k, n_k the number of training samples that it
    reports; the step has the shape [D].

    It fails under any attack: a single Byzantine client moves the mean to wherever it likes.

    The original weights by n_k. Here the default is 1/K, because a Byzantine client may report any n_k; the
    original's weights are there on request, with a warning. It averages the clients' models, which is the same as
    a step along the mean of their updates.

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
    shardable = True

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        if self.settings.weighting == "uniform":
            return updates.mean()
        counts = context.reported_counts("weighting: samples")
        return updates.weighted_sum(counts / counts.sum())

    def check(self, num_rows: int) -> None:
        if self.settings.weighting == "samples":
            warn_of_reported_counts("weighting: samples")
