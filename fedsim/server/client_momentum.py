"""Clients that send the momentum of their updates (Karimireddy et al. 2021, Learning from History)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedsim.updates.columns import ALONE, Exchange


class ClientMomentum:
    """m_k ← (1 - β) g_k + β m_k, kept for each client by its id; m_k starts at 0.

    It is done where the rows are gathered, on rank 0: with the same result as in each client, and a client's state
    need not move when the number of ranks changes.

    Args:
        beta: 0 sends updates as they are.
        wire_dtype: what every row is rounded to.
    """

    def __init__(self, beta: float, wire_dtype: torch.dtype = torch.float32) -> None:
        self._beta, self._wire_dtype = beta, wire_dtype
        self._momenta: dict[int, Tensor] = {}

    def apply(self, rows: Sequence[Tensor], clients: Sequence[int], exchange: Exchange = ALONE) -> None:
        """Replace the rows [D] of ``clients`` by their momenta; one with NaN or infinity stays as it is.

        Args:
            exchange: with ranks that have other columns of the rows.
        """
        if self._beta == 0 or not rows:
            return
        here = torch.stack([row.isfinite().all() for row in rows])[None].cpu()
        finite = torch.cat(exchange.gather(here)).all(0).tolist()
        for row, client, good in zip(rows, clients, finite, strict=True):
            if not good:
                continue  # or the client would be lost for all later rounds
            momentum = self._momenta.get(client)
            momentum = torch.zeros_like(row) if momentum is None else momentum.to(row.device)
            self._momenta[client] = momentum
            momentum.mul_(self._beta).add_(row, alpha=1 - self._beta)
            row.copy_(momentum.to(self._wire_dtype))

    def state_dict(self) -> dict[str, Any]:
        return {"momenta": dict(self._momenta)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._momenta = dict(state["momenta"])
