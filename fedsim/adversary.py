"""The adversary: replaces the Byzantine rows of a round, seeing all honest ones."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedsim.aggregators import Aggregator
from fedsim.attacks import Attack, AttackView
from fedsim.round_context import RoundContext
from fedsim.update_matrix import UpdateMatrix


class Adversary:
    """Controls the Byzantine clients.

    Args:
        clients: their ids.
        attack: crafts their rows.
        wire_dtype: what every row is rounded to, theirs included.
    """

    def __init__(self, clients: Sequence[int], attack: Attack, wire_dtype: torch.dtype = torch.float32) -> None:
        self._wire_dtype = wire_dtype
        self.clients = frozenset(clients)
        self.attack = attack
        # Buffers are attacked by the same rule, with a state of their own.
        self._buffer_attack = copy.deepcopy(attack)

    def replace_rows(self, rows: Tensor, buffers: Tensor, context: RoundContext, aggregator: Aggregator) -> None:
        """Overwrite the Byzantine rows of ``rows`` [K, D] and ``buffers`` [K, D_b] in place.

        Rows of Byzantine clients that did no local work are taken as zero.
        """
        byzantine = [row for row, client in enumerate(context.client_ids) if client in self.clients]
        if not byzantine:
            return
        for attack, matrix in ((self.attack, rows), (self._buffer_attack, buffers)):
            if matrix.shape[1] > 0:
                self._replace(attack, matrix, byzantine, context, aggregator)

    def _replace(
        self, attack: Attack, matrix: Tensor, byzantine: list[int], context: RoundContext, aggregator: Aggregator
    ) -> None:
        if not attack.trains:
            matrix[byzantine] = 0  # whatever an earlier round has left there
        updates = UpdateMatrix(matrix)
        finite = updates.finite_rows()
        honest = [row for row in range(len(matrix)) if row not in byzantine and finite[row]]
        view = AttackView(
            honest=updates.select(honest),
            own=updates.select(byzantine),
            aggregator=copy.deepcopy(aggregator) if attack.probes else None,
            context=context.keep([*honest, *byzantine]),
        )
        matrix[byzantine] = attack(view).to(self._wire_dtype).to(matrix.dtype)

    def state_dict(self) -> dict[str, Any]:
        return {"attack": self.attack.state_dict(), "buffer_attack": self._buffer_attack.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.attack.load_state_dict(state["attack"])
        self._buffer_attack.load_state_dict(state["buffer_attack"])
