"""NaN and infinity."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.settings import Schema
from fedsim.updates.random_rows import draw_rows, draw_seed

BAD = torch.tensor([torch.nan, torch.inf, -torch.inf])


@attacks.register("nonfinite")
class NonFinite(Attack):
    """Own update with NaN, +Inf and -Inf in a share of the coordinates, drawn independently for each client.

    Every coordinate of the update of Byzantine client b is corrupted with probability ``share``, by one of the three
    with equal probability; in a row where none was, the first one becomes NaN [ours]. One such value makes a
    plain mean NaN or infinite in that coordinate, and with it the model.

    It has no paper. It tests what the server makes of rows that contain NaN or infinity before any rule sees them
    (``runtime.nonfinite``): a server that drops them takes no harm beyond the loss of a client.

    >>> NonFinite(share=1.0)(AttackView(honest=torch.ones(2, 3), own=torch.ones(1, 3))).isfinite().any()
    tensor(False)
    """

    class Settings(Schema):
        share: float = Field(0.01, gt=0, le=1, description="share of the coordinates that are corrupted")

    settings: Settings
    sees_honest = False
    trains = True
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        rows = draw_rows(draw_seed(view.facts.randomness()), view.own_ids, view.own, self._draw)
        corrupted = view.own.beside(rows).sum_over_blocks(lambda block: (block != 0).sum(1))  # NaN is not 0 either
        if view.own.first_column == 0:
            rows[corrupted == 0, :1] = torch.nan
        return rows.add_(view.own.local_rows())

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        """NaN or an infinity where a coordinate is corrupted, else 0."""
        corrupted = torch.rand(count, generator=generator) < self.settings.share
        which = BAD[torch.randint(len(BAD), (count,), generator=generator)]
        return torch.where(corrupted, which, 0.0)
