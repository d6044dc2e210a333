"""Multi-Krum: mean of the updates with the best Krum scores."""

from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.errors import ConfigError
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import krum_scores, smallest


@aggregators.register("multi_krum")
class MultiKrum(TolerantAggregator):
    """Mean of the updates with the best Krum scores, K-f of them unless told otherwise; f <= (K-3)/2.

    >>> import torch
    >>> MultiKrum(num_byzantine=1)(torch.tensor([[1.0], [1.5], [2.0], [2.25], [-50.0]]))
    tensor([1.6875])
    """

    commutes_with_rotations = True

    class Settings(TolerantAggregator.Settings):
        num_selected: int | None = Field(None, ge=1, description="how many updates are averaged; left out: K-f")

    settings: Settings

    largest_f = staticmethod(lambda num_rows: (num_rows - 3) // 2)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context.dropped)
        count = min(self.settings.num_selected or updates.num_rows - f, updates.num_rows)
        scores = krum_scores(updates.squared_distances(), f)
        selected = smallest(scores, count, context.client_ids)
        weights = selected.float()
        self.diagnostics = Diagnostics(per_client={"score": scores, "selected": weights}, trust=weights)
        return updates.select(selected.nonzero().flatten().tolist()).mean()

    def check(self, num_rows: int) -> None:
        super().check(num_rows)
        wanted = self.settings.num_selected
        if wanted is not None and wanted > num_rows:
            raise ConfigError(
                "num_selected", f"{wanted} is more than the {num_rows} clients", "select fewer, or leave it out"
            )
