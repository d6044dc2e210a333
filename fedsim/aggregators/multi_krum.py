"""Multi-Krum: mean of the updates with the best Krum scores."""

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.aggregators.krum import KRUM
from fedsim.errors import ConfigError
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import krum_scores, smallest
from fedsim.updates.row_statistics import RowStatistic


@aggregators.register("multi_krum", KRUM)
class MultiKrum(TolerantAggregator):
    """Mean of the updates with the best Krum scores.

        score_k = sum of the K-f-2 smallest ||g_k - g_l||^2 over l != k
        step    = mean of the g_k with the m smallest scores

    K is the number of clients, g_k in R^D the update of client k, f (``num_byzantine``) the number of Byzantine
    clients to defend against, m (``num_selected``) the number of updates to average; the step has the shape [D].
    Equal scores go to the lower client ids.

    It fails where honest updates are more scattered than Byzantine ones: those that agree with each other have the
    best scores and are averaged first. With more than f Byzantine clients, the default m must include some of them.

    The original leaves m open, between 1 (Krum) and K (the mean); left out, it is K-f here, the number of updates
    that are honest if f is right. As for Krum, an f above (K-3)/2 warns only: max(1, K-f-2) neighbours then score.

    >>> import torch
    >>> MultiKrum(num_byzantine=1)(torch.tensor([[1.0], [1.5], [2.0], [2.25], [-50.0]]))
    tensor([1.6875])
    """

    commutes_with_rotations = True

    class Settings(TolerantAggregator.Settings):
        num_selected: int | None = Field(None, ge=1, description="how many updates are averaged; left out: K-f")

    settings: Settings

    largest_f = staticmethod(lambda num_rows: (num_rows - 3) // 2)
    works_beyond = True
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("gram",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context)
        count = min(self.settings.num_selected or updates.num_rows - f, updates.num_rows)
        scores = krum_scores(updates.squared_distances(), f)
        selected = smallest(scores, count, context.client_ids)
        weights = selected.float()
        self.diagnostics = Diagnostics(
            per_client={"score": scores, "selected": weights}, scalars={"num_byzantine": f}, trust=weights
        )
        return updates.select(selected.nonzero().flatten().tolist()).mean()

    def check(self, num_rows: int) -> None:
        super().check(num_rows)
        wanted = self.settings.num_selected
        if wanted is not None and wanted > num_rows:
            raise ConfigError(
                "num_selected", f"{wanted} is more than the {num_rows} clients", "select fewer, or leave it out"
            )
