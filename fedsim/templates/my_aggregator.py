"""An aggregator with trust, which defends against f Byzantine clients.

`fedsim --plugin my_aggregator.py aggregator.name=my_aggregator aggregator.num_byzantine=3`
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators import Diagnostics, RoundContext, TolerantAggregator, UpdateMatrix, aggregators


@aggregators.register("my_aggregator")
class MyAggregator(TolerantAggregator):
    """The K - f updates that are closest to all others, each weighted by the reputation of its client.

        reputation = memory * reputation + (1 - memory) * (1 if the update is among the K - f, else 0)

    A client begins with the reputation of its first round.
    """

    class Settings(TolerantAggregator.Settings):  # which has num_byzantine
        memory: float = Field(0.8, ge=0, lt=1, description="share of the old reputation in the new one")

    settings: Settings
    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)  # the largest f that K rows allow

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._reputation: dict[int, float] = {}  # by client, since the rows of a round may be those of some clients

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context)
        scores = updates.squared_distances().sum(1).cpu()  # [K]
        closest = set(scores.argsort(stable=True)[: updates.num_rows - f].tolist())
        trust = torch.zeros(updates.num_rows, dtype=torch.float64)
        for row, client in enumerate(context.client_ids):
            reputation = self._remember(client, float(row in closest))
            trust[row] = reputation if row in closest else 0.0
        self.diagnostics = Diagnostics(per_client={"score": scores}, scalars={"num_byzantine": f}, trust=trust)
        return updates.weighted_sum(trust / trust.sum())  # [D], which the server subtracts

    def _remember(self, client: int, now: float) -> float:
        memory = self.settings.memory
        self._reputation[client] = memory * self._reputation.get(client, now) + (1 - memory) * now
        return self._reputation[client]

    def state_dict(self) -> dict[str, Any]:
        return {"reputation": dict(self._reputation)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._reputation = dict(state["reputation"])
