"""Federated averaging: the mean, without any defence."""

from torch import Tensor

from fedsim.aggregators.base import Aggregator, aggregators
from fedsim.round_context import RoundContext
from fedsim.update_matrix import UpdateMatrix


@aggregators.register("fedavg", paper="McMahan et al. 2017, Communication-Efficient Learning of Deep Networks")
class FedAvg(Aggregator):
    """Mean of the updates; one Byzantine client moves it anywhere.

    >>> import torch
    >>> FedAvg()(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    tensor([2., 4.])
    """

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        return updates.mean()
