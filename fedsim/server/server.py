"""The server: turns the rows of a round into one step, on rank 0, or some columns of them on each rank."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fedsim.aggregators import Aggregator
from fedsim.aggregators.defence import Defence
from fedsim.errors import NonFiniteError
from fedsim.server.distributed_state import local_state, whole_row, whole_state
from fedsim.server.nonfinite import NonFinitePolicy, count_nonfinite, usable_rows, zero_nonfinite
from fedsim.training.optimizers import MakeOptimizer
from fedsim.training.schedules import Schedule
from fedsim.training.schedules.constant import Constant
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_columns import RowColumns

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decision:
    """What the server made of a round.

    Attributes:
        step: what is subtracted from parameters and buffers [here].
        aggregate: what the aggregator returned for the parameters here.
        updates: the rows that the defence was given, with the statistics that are kept there.
        client_ids: whose rows these are, in their order.
        nonfinite_clients: those that sent NaN or infinity.
        nonfinite_aggregate: how many coordinates of the aggregate were NaN or infinite (the step is then zero).
    """

    step: Tensor
    aggregate: Tensor
    updates: UpdateMatrix
    client_ids: tuple[int, ...]
    nonfinite_clients: list[int] = field(default_factory=list)
    nonfinite_aggregate: int = 0


class Server:
    """Non-finite policy, defence and server optimiser.

    Attributes:
        defence: pre-aggregators and aggregator of the rows.
        buffer_defence: aggregator of the buffers by themselves; None aggregates them inside the row.
        columns: of the rows that it works on.
        last_step: the step [here] of the round before.

    Args:
        parameters: D, number of coordinates of the row that are parameters; the rest are buffers.
        variances: which of the D_b buffers are variances, which must not become negative.
        columns: of the rows, if not all of them are here.
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
        columns: RowColumns | None = None,
    ) -> None:
        self.defence, self.buffer_defence = defence, buffer_defence
        self.columns = columns or RowColumns(parameters, len(variances), in_row=buffer_defence is None)
        self._policy, self._variances = policy, self.columns.of_buffers(variances)
        self._parameters = self.columns.parameters_here
        self._weights = torch.zeros(self._parameters, device=variances.device)
        self._optimizer = make_optimizer([self._weights])
        self._schedule = schedule or Constant()
        self._rates = [group["lr"] for group in self._optimizer.param_groups]
        self.last_step: Tensor | None = None
        self._named: set[int] = set()

    def decide(self, rows: tuple[Tensor, Tensor], state: Tensor, context: RoundContext) -> Decision:
        """The step for these rows.

        Args:
            rows: what the defence sees [K, seen here], and buffers beside it.
            state: global parameters and buffers [here].
        """
        of_row, of_buffers = context.matrix(rows[0]), UpdateMatrix(rows[1])
        of_row.prepare("norms")  # they are in every record, and show which rows are finite
        keep, offenders = usable_rows([of_row, of_buffers], context.client_ids, self._policy, self.columns.exchange)
        self._warn_once(offenders, context)
        updates, buffers = self._finite(of_row, keep), self._finite(of_buffers, keep)
        context = context.keep(keep)

        aggregate = torch.zeros_like(state)
        row_part, buffer_part = self.split(aggregate)
        if keep:
            row_part.copy_(self._aggregate(updates, context))
            if self.buffer_defence is not None and buffers.num_columns > 0:
                buffer_part.copy_(self.buffer_defence(buffers, replace(context, columns=None)))
        bad = self._refuse_nonfinite(aggregate, context)
        step = self._step(aggregate, state, context.round) if keep and not bad else torch.zeros_like(state)
        self.last_step = step.clone()
        return Decision(step, aggregate[: self._parameters], updates, context.client_ids, offenders, bad)

    def _warn_once(self, offenders: list[int], context: RoundContext) -> None:
        """Name a client the first time that it sends NaN or infinity; the records count every time."""
        new = sorted(set(offenders) - self._named)
        if new:
            text = "round %d: clients %s sent NaN or infinity (runtime.nonfinite: %s); later ones are only recorded"
            log.warning(text, context.round + 1, new, self._policy)
            self._named.update(new)

    def split(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """What the defence sees of local vectors [..., here], and the buffers that it does not see."""
        return self.columns.split(vectors)

    def _finite(self, updates: UpdateMatrix, keep: list[int]) -> UpdateMatrix:
        if self._policy == "zero" and updates.num_columns > 0:
            return zero_nonfinite(updates)
        return updates if len(keep) == updates.num_rows else updates.select(keep)

    def _aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        before = self.defence.state_dict()
        aggregate = self.defence(updates, context)
        if self.columns.count(count_nonfinite(aggregate)):
            self.defence.load_state_dict(before)  # or the next rounds would inherit it
        return aggregate

    def _refuse_nonfinite(self, aggregate: Tensor, context: RoundContext) -> int:
        bad = self.columns.count(count_nonfinite(aggregate))
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
            "defence": whole_state(self.defence.state_dict(), self.columns),
            "optimizer": whole_state(self._optimizer.state_dict(), self.columns),
            "last_step": whole_row(self.last_step, self.columns),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.defence.load_state_dict(local_state(state["defence"], self.columns))
        self._optimizer.load_state_dict(local_state(dict(state["optimizer"]), self.columns))
        last_step = state["last_step"]
        self.last_step = None if last_step is None else self.columns.local(last_step).clone()
