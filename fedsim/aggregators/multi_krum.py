"""Multi-Krum: mean of the updates with the best Krum scores."""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.aggregators.krum import TIE, krum_scores
from fedsim.errors import ConfigError
from fedsim.round_context import RoundContext
from fedsim.update_matrix import UpdateMatrix


def smallest(values: Tensor, count: int, client_ids: Sequence[int]) -> Tensor:
    """Mask [..., n] of the ``count`` smallest values along the last dimension, ties to the lower client id.

    Args:
        values: [..., n], float64; those that differ by the rounding of a sum only count as tied.

    >>> smallest(torch.tensor([5.0, 1.0, 5.0, 9.0]), 2, client_ids=[7, 8, 3, 4])
    tensor([False,  True,  True, False])
    """
    last = values.sort(dim=-1).values[..., count - 1 : count]
    surely = values < last * (1 - TIE)
    tied = (values <= last * (1 + TIE)) & ~surely
    by_id = torch.tensor(client_ids, device=values.device).argsort()
    place_among_tied = tied[..., by_id].cumsum(-1)[..., by_id.argsort()]
    return surely | tied & (place_among_tied <= count - surely.sum(-1, keepdim=True))


@aggregators.register("multi_krum", paper="Blanchard et al. 2017, Machine Learning with Adversaries")
class MultiKrum(TolerantAggregator):
    """Mean of the updates with the best Krum scores, K-f of them unless told otherwise; f <= (K-3)/2.

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
