"""Election coding: majority votes of majority votes."""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, aggregators
from fedsim.aggregators.signsgd_mv import SCALE_HELP, Scale, step_along_signs
from fedsim.errors import ConfigError
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


def cyclic_polls(clients: int, redundancy: int) -> Tensor:
    """How often node i asks client k [K, K]: once each of i, i+1, ..., i+r-1 (mod K).

    >>> cyclic_polls(4, redundancy=3)
    tensor([[1., 1., 1., 0.],
            [0., 1., 1., 1.],
            [1., 0., 1., 1.],
            [1., 1., 0., 1.]])
    """
    polls = torch.zeros(clients, clients)
    for node in range(clients):
        for offset in range(redundancy):
            polls[node, (node + offset) % clients] += 1
    return polls


@aggregators.register(
    "election_coding",
    Reference(
        authors="Sohn, Han, Choi and Moon",
        title="Election Coding for Distributed Learning: Protecting SignSGD against Byzantine Attacks",
        year=2020,
        venue="NeurIPS",
        url="https://arxiv.org/abs/1910.06093",
    ),
)
class ElectionCoding(Aggregator):
    """Majority vote on each sign over nodes that each poll a few clients.

        e_i^j  = sgn(sum over the polled k of sgn(g_k^j)),    i = 1, ..., K
        step^j = c sgn(sum_i e_i^j),    c = ``scale``, or median_k ||g_k||_1 / D with ``auto``

    K is the number of clients and of nodes, g_k in R^D the update of client k, g_k^j its coordinate j; the step has
    the shape [D]. Node i polls the clients i, ..., i+r-1 (mod K), r the ``redundancy``, in the order of the client
    ids; ``bernoulli`` draws its clients each round. With K < r a node counts some clients twice.

    It fails against a minority that is well placed: with r = 3 the clients 0, 1, 3 and 4 of 9 decide five nodes.

    An adaptation of our own: as published, every worker computes the gradients of several replicated data parts and
    is itself the node that encodes them into one vote. Clients of a federation do not share data, so here the
    server lets K virtual nodes poll the clients. ``scale: auto`` is ours too, as for ``signsgd_mv``.

    Raises:
        ConfigError: ``redundancy`` is even.

    >>> ElectionCoding(scale=1.0)(torch.tensor([[2.0, 1.0], [1.0, -2.0], [4.0, -1.0], [-1.0, -1.0], [-9.0, 1.0]]))
    tensor([ 1., -1.])
    """

    class Settings(Schema):
        redundancy: int = Field(3, ge=1, description="r, how many clients a node polls (cyclic only), an odd number")
        assignment: Literal["cyclic", "bernoulli"] = Field(
            "cyclic",
            description="node i polls clients i to i+r-1; bernoulli: each client with probability 1/2, drawn "
            "each round, and a node without clients abstains",
        )
        scale: Scale = Field("auto", description=SCALE_HELP)

    settings: Settings
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.settings.redundancy % 2 == 0:
            raise ConfigError("redundancy", f"{self.settings.redundancy} is even", "give an odd number")

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        polls = torch.empty(updates.num_rows, updates.num_rows)
        polls[:, context.in_id_order()] = self._polls(updates.num_rows, context)
        step, self.diagnostics = step_along_signs(updates, self.settings.scale, polls.to(updates.device))
        return step

    def _polls(self, clients: int, context: RoundContext) -> Tensor:
        """How often each node asks each client [K, K], clients in id order."""
        if self.settings.assignment == "cyclic":
            return cyclic_polls(clients, self.settings.redundancy)
        return (torch.rand(clients, clients, generator=context.randomness()) < 0.5).float()
