"""A round as the server sees it: attack, aggregation and diagnostics on rank 0, or on every rank for its columns."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fedsim.records.phases import Phases
from fedsim.records.round_record import AttackRecord, ByClient
from fedsim.seeds import derive_generator
from fedsim.server.adversary import Adversary, Target
from fedsim.server.agreement import require_agreement
from fedsim.server.client_momentum import ClientMomentum
from fedsim.server.diagnosis import Diagnosis
from fedsim.server.distributed_state import local_state, whole_state
from fedsim.server.server import Server
from fedsim.updates.column_maps import EAGER, MapRunner
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.row_columns import RowColumns

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerOutcome:
    """The step [D + D_b] and what is to be recorded about how it came about; see :class:`RoundRecord`.

    On each rank the step holds the columns that the server works on there; the others are still to be filled in.
    """

    step: Tensor
    server: Mapping[str, float | None] = field(default_factory=dict)
    clients: Mapping[str, ByClient] = field(default_factory=dict)
    attack: AttackRecord = field(default_factory=AttackRecord)
    nonfinite_clients: Sequence[int] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)


class ServerRound(ABC):
    """Turns gathered rows into the step.

    Attributes:
        ranges: the columns of the step [start, stop) that each rank fills in, by rank.
        is_distributed: whether every rank works on some columns.
    """

    is_distributed = False

    ranges: Sequence[Sequence[tuple[int, int]]]

    @abstractmethod
    def aggregate(
        self, rows: Tensor | None, state: Tensor, round_index: int, clients: Sequence[int]
    ) -> ServerOutcome:
        """The outcome of a round.

        Args:
            rows: [K, D + D_b], or the columns of this rank [K, here], where the server works, else None. Row i is of
                client ``clients[i]``.
            state: global parameters and buffers [D + D_b].
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that later rounds depend on, whole on rank 0; every rank calls it alike."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""


class NoOpRound(ServerRound):
    """Every rank but 0, where rank 0 works alone: the step is still to be filled by the broadcast."""

    def __init__(self, columns: RowColumns) -> None:
        self.ranges = columns.ranges

    def aggregate(
        self, rows: Tensor | None, state: Tensor, round_index: int, clients: Sequence[int]
    ) -> ServerOutcome:
        return ServerOutcome(torch.empty_like(state))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class WorkingRound(ServerRound):
    """Where the server works: client momentum, attack, aggregation, then the diagnostics of both.

    It works on the columns of its server: all, on rank 0, or some on each rank.

    Args:
        layout: of the parameters in a row.
        seed: of the run.
        sample_counts: how many training samples each client has, by id.
        diagnosis: what is recorded about a round; left out, every round is diagnosed.
        maps: who runs column maps of the rows.
    """

    def __init__(
        self,
        adversary: Adversary,
        server: Server,
        layout: RowLayout,
        seed: int,
        phases: Phases,
        sample_counts: Sequence[int] | None = None,
        momentum: ClientMomentum | None = None,
        diagnosis: Diagnosis | None = None,
        maps: MapRunner = EAGER,
    ) -> None:
        self._adversary, self._server, self._layout, self._seed = adversary, server, layout, seed
        self._phases, self._momentum = phases, momentum or ClientMomentum(0.0)
        self._sample_counts, self._maps = sample_counts, maps
        self.ranges, self.is_distributed = server.columns.ranges, server.columns.seen is not None
        self._diagnosis = diagnosis or Diagnosis(adversary.plan, layout.size)
        self._warned_of_majority = False

    def aggregate(
        self, rows: Tensor | None, state: Tensor, round_index: int, clients: Sequence[int]
    ) -> ServerOutcome:
        assert rows is not None
        columns = self._server.columns
        seen, buffers = (part.to(state.device) for part in columns.rows(rows))
        state = columns.local(state)
        context = self._context(round_index, clients, state.device)
        self._warn_of_majority(context)
        self._apply_momentum(seen, context)
        with self._phases("attack"):
            self._attack((seen, buffers), state, context)
        with self._phases("aggregate"):
            decision = self._server.decide((seen, buffers), state, context)
            require_agreement(self._server.defence.diagnostics, columns.exchange)
        with self._phases("diagnose"):
            findings = self._diagnosis(decision, context, self._server.defence)
        return ServerOutcome(
            columns.spread(decision.step),
            server=findings.server,
            clients=findings.clients,
            attack=self._adversary.record(context),
            nonfinite_clients=decision.nonfinite_clients,
            metrics=findings.metrics,
        )

    def _context(self, round_index: int, clients: Sequence[int], device: torch.device) -> RoundContext:
        server, counts = self._server, self._sample_counts
        return RoundContext(
            round=round_index,
            client_ids=tuple(clients),
            layout=self._layout,
            last_step=None if server.last_step is None else server.split(server.last_step)[0],
            generator=derive_generator(self._seed, "aggregator", round_index),
            sample_counts=None if counts is None else tuple(counts[client] for client in clients),
            columns=server.columns.seen_of(len(clients), device),
            maps=self._maps,
        )

    def _apply_momentum(self, rows: Tensor, context: RoundContext) -> None:
        idle, clients = self._adversary.plan.idle(context.round), context.client_ids
        trained = [slot for slot, client in enumerate(clients) if client not in idle]
        columns = self._server.columns
        parameters = [rows[slot, : columns.parameters_here] for slot in trained]
        self._momentum.apply(parameters, [clients[slot] for slot in trained], columns.exchange)

    def _warn_of_majority(self, context: RoundContext) -> None:
        """A round of few participants may draw more Byzantine clients than any defence withstands: warned of once."""
        attackers = self._adversary.plan.attackers(context.round)
        byzantine, participants = sum(client in attackers for client in context.client_ids), len(context.client_ids)
        if 2 * byzantine >= participants and not self._warned_of_majority:
            text = "round %d: %d of the %d participants are Byzantine; later rounds only record it (attack.share)"
            log.warning(text, context.round + 1, byzantine, participants)
            self._warned_of_majority = True

    def _attack(self, rows: tuple[Tensor, Tensor], state: Tensor, context: RoundContext) -> None:
        """Let the adversary replace rows that the defence sees, and the buffers where they travel by themselves."""
        server, last_step = self._server, self._server.last_step
        row_part, buffer_part = rows
        row_state, buffer_state = server.split(state)
        row_step, buffer_step = (None, None) if last_step is None else server.split(last_step)
        of_row = replace(context, last_step=row_step, weights=row_state)
        of_buffers = replace(context, last_step=buffer_step, weights=buffer_state, layout=None, columns=None)
        self._adversary.replace_rows(
            Target(row_part, server.defence, of_row), Target(buffer_part, server.buffer_defence, of_buffers)
        )

    def state_dict(self) -> dict[str, Any]:
        columns, adversary = self._server.columns, self._adversary.state_dict()
        return {
            "server": self._server.state_dict(),
            "adversary": {**adversary, "attacks": whole_state(adversary["attacks"], columns)},
            "momentum": whole_state(self._momentum.state_dict(), columns),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        columns, adversary = self._server.columns, state["adversary"]
        self._server.load_state_dict(state["server"])
        attacks = local_state(adversary["attacks"], columns)
        self._adversary.load_state_dict({**adversary, "attacks": attacks})
        self._momentum.load_state_dict(local_state(state["momentum"], columns))
