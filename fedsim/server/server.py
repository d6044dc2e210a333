"""The server: turns the rows of a round into one step. It lives on rank 0."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fedsim.aggregators import Aggregator
from fedsim.aggregators.defence import Defence
from fedsim.errors import NonFiniteError
from fedsim.server.nonfinite import NonFinitePolicy, count_nonfinite, usable_rows, zero_nonfinite
from fedsim.training.optimizers import MakeOptimizer
from fedsim.training.schedules import Schedule
from fedsim.training.schedules.constant import Constant
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """What the server made of a round.

    Attributes:
        step: what every rank subtracts from its parameters and buffers [D + D_b].
        aggregate: what the aggregator returned for the parameters [D].
        client_ids: the clients whose rows were aggregated, in row order.
        nonfinite_clients: those that sent NaN or infinity.
        nonfinite_aggregate: how many coordinates of the aggregate were NaN or infinite (the step is then zero).
    """

    step: Tensor
    aggregate: Tensor
    client_ids: tuple[int, ...]
    nonfinite_clients: list[int] = field(default_factory=list)
    nonfinite_aggregate: int = 0


class Server:
    """Non-finite policy, defence and server optimiser.

    Attributes:
        defence: pre-aggregators and aggregator of the rows.
        buffer_defence: aggregator of the buffers by themselves; None aggregates them inside the row.
        last_step: the step [D + D_b] of the round before.

    Args:
        parameters: D, number of coordinates of the row that are parameters; the rest are buffers.
        variances: which of the D_b buffers are variances, which must not become negative.
    """

    def __init__(
        self,
        defence: Defence,
        buffer_defence: Aggregator | None,
        make_optimizer: MakeOptimizer,
        policy: NonFinitePolicy,
        parameters: int,
        variances: Tensor,
        schedule: Schedule | None = None,
    ) -> None:
        self.defence, self.buffer_defence = defence, buffer_defence
        self._policy, self._parameters, self._variances = policy, parameters, variances
        self._weights = torch.zeros(parameters, device=variances.device)
        self._optimizer = make_optimizer([self._weights])
        self._schedule = schedule or Constant()
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self.last_step: Tensor | None = None
        self._named: set[int] = set()

    def decide(self, rows: Tensor, state: Tensor, context: RoundContext) -> Decision:
        """The step for these rows.

        Args:
            rows: matrix [K, D + D_b], parameters first.
            state: global parameters and buffers [D + D_b].
        """
        row_part, buffer_part = self.split(rows)
        keep, offenders = usable_rows([UpdateMatrix(rows)], context.client_ids, self._policy)
        self._warn_once(offenders, context)
        context = context.keep(keep)
        updates, buffers = self._finite(row_part, keep), self._finite(buffer_part, keep)

        aggregate = torch.zeros_like(state)
        if keep:
            aggregate[: row_part.shape[1]] = self._aggregate(updates, context)
            if self.buffer_defence is not None and buffers.num_columns > 0:
                aggregate[row_part.shape[1] :] = self.buffer_defence(buffers, context)
        bad = self._refuse_nonfinite(aggregate, context)
        step = self._step(aggregate, state, context.round) if keep and not bad else torch.zeros_like(state)
        self.last_step = step.clone()
        return Decision(step, aggregate[: self._parameters], context.client_ids, offenders, bad)

    def _warn_once(self, offenders: list[int], context: RoundContext) -> None:
        """Name a client the first time that it sends NaN or infinity; the records count every time."""
        new = sorted(set(offenders) - self._named)
        if new:
            text = "round %d: clients %s sent NaN or infinity (runtime.nonfinite: %s); later ones are only recorded"
            log.warning(text, context.round + 1, new, self._policy)
            self._named.update(new)

    def split(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What the defence sees of [..., D + D_b], and the buffers that it does not see."""
        cut = rows.shape[-1] if self.buffer_defence is None else self._parameters
        return rows[..., :cut], rows[..., cut:]

    def _finite(self, rows: Tensor, keep: list[int]) -> UpdateMatrix:
        updates = UpdateMatrix(rows)
        if self._policy == "zero" and updates.num_columns > 0:
            return zero_nonfinite(updates)
        return updates if len(keep) == len(rows) else updates.select(keep)

    def _aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        before = self.defence.state_dict()
        aggregate = self.defence(updates, context)
        if count_nonfinite(aggregate):
            self.defence.load_state_dict(before)  # or the next rounds would inherit it
        return aggregate

    def _refuse_nonfinite(self, aggregate: Tensor, context: RoundContext) -> int:
        bad = count_nonfinite(aggregate)
        if bad and self._policy == "error":
            raise NonFiniteError(f"round {context.round + 1}: {bad} coordinates of the aggregate are NaN or infinite")
        if bad:
            log.warning(
                "round %d: %d coordinates of the aggregate are NaN or infinite; no step", context.round + 1, bad
            )
        return bad

    def _step(self, aggregate: Tensor, state: Tensor, round_index: int) -> Tensor:
        """The server optimiser's step for the parameters; buffers step with rate 1."""
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * self._schedule.factor(round_index)
        step = aggregate.clone()
        weights = state[: self._parameters]
        self._weights.copy_(weights)
        self._weights.grad = aggregate[: self._parameters].clone()
        self._optimizer.step()
        torch.sub(weights, self._weights, out=step[: self._parameters])
        buffers, buffer_step = state[self._parameters :], step[self._parameters :]
        buffer_step[self._variances] = torch.minimum(buffer_step[self._variances], buffers[self._variances])
        return step

    def state_dict(self) -> dict[str, Any]:
        return {
            "defence": self.defence.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "last_step": self.last_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.defence.load_state_dict(state["defence"])
        self._optimizer.load_state_dict(dict(state["optimizer"]))
        self.last_step = state["last_step"]
