"""A round as the server sees it: attack, aggregation and diagnostics on rank 0, a no-op on the other ranks."""

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
from fedsim.server.client_momentum import ClientMomentum
from fedsim.server.diagnostics import cosines_to_honest_mean, detection_auc
from fedsim.server.server import Decision, Server
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerOutcome:
    """The step [D + D_b] and what is to be recorded about how it came about; see :class:`RoundRecord`."""

    step: Tensor
    server: Mapping[str, float | None] = field(default_factory=dict)
    clients: Mapping[str, ByClient] = field(default_factory=dict)
    attack: AttackRecord = field(default_factory=AttackRecord)
    nonfinite_clients: Sequence[int] = ()


class ServerRound(ABC):
    """Turns gathered rows into the step."""

    @abstractmethod
    def aggregate(
        self, rows: Tensor | None, state: Tensor, round_index: int, clients: Sequence[int]
    ) -> ServerOutcome:
        """The outcome of a round.

        Args:
            rows: [K, D + D_b] on rank 0, row i of client ``clients[i]``; None elsewhere.
            state: global parameters and buffers [D + D_b].
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that later rounds depend on."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""


class NoOpRound(ServerRound):
    """Every rank but 0: the step is still to be filled by the broadcast."""

    def aggregate(
        self, rows: Tensor | None, state: Tensor, round_index: int, clients: Sequence[int]
    ) -> ServerOutcome:
        return ServerOutcome(torch.empty_like(state))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class RankZeroRound(ServerRound):
    """Rank 0: client momentum, attack, aggregation, then the diagnostics of both.

    Args:
        layout: of the parameters in a row.
        seed: of the run.
        sample_counts: how many training samples each client has, by id.
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
    ) -> None:
        self._adversary, self._server, self._layout, self._seed = adversary, server, layout, seed
        self._phases, self._momentum = phases, momentum or ClientMomentum(0.0)
        self._sample_counts = sample_counts
        self._warned_of_majority = False

    def aggregate(
        self, rows: Tensor | None, state: Tensor, round_index: int, clients: Sequence[int]
    ) -> ServerOutcome:
        assert rows is not None
        rows = rows.to(state.device)
        context = self._context(round_index, clients)
        self._warn_of_majority(context)
        self._apply_momentum(rows, context)
        with self._phases("attack"):
            self._attack(rows, state, context)
        with self._phases("aggregate"):
            decision = self._server.decide(rows, state, context)
        with self._phases("diagnose"):
            return self._diagnose(UpdateMatrix(rows[:, : self._layout.size]), context, decision)

    def _context(self, round_index: int, clients: Sequence[int]) -> RoundContext:
        last_step, counts = self._server.last_step, self._sample_counts
        return RoundContext(
            round=round_index,
            client_ids=tuple(clients),
            layout=self._layout,
            last_step=None if last_step is None else last_step[: self._layout.size],
            generator=derive_generator(self._seed, "aggregator", round_index),
            sample_counts=None if counts is None else tuple(counts[client] for client in clients),
        )

    def _apply_momentum(self, rows: Tensor, context: RoundContext) -> None:
        idle, clients = self._adversary.plan.idle(context.round), context.client_ids
        trained = [slot for slot, client in enumerate(clients) if client not in idle]
        parameters = [rows[slot, : self._layout.size] for slot in trained]
        self._momentum.apply(parameters, [clients[slot] for slot in trained])

    def _warn_of_majority(self, context: RoundContext) -> None:
        """A round of few participants may draw more Byzantine clients than any defence withstands: warned of once."""
        attackers = self._adversary.plan.attackers(context.round)
        byzantine, participants = sum(client in attackers for client in context.client_ids), len(context.client_ids)
        if 2 * byzantine >= participants and not self._warned_of_majority:
            text = "round %d: %d of the %d participants are Byzantine; later rounds only record it (attack.share)"
            log.warning(text, context.round + 1, byzantine, participants)
            self._warned_of_majority = True

    def _attack(self, rows: Tensor, state: Tensor, context: RoundContext) -> None:
        """Let the adversary replace rows that the defence sees, and the buffers where they travel by themselves."""
        server, last_step = self._server, self._server.last_step
        row_part, buffer_part = server.split(rows)
        row_state, buffer_state = server.split(state)
        row_step, buffer_step = (None, None) if last_step is None else server.split(last_step)
        of_row = replace(context, last_step=row_step, weights=row_state)
        of_buffers = replace(context, last_step=buffer_step, weights=buffer_state, layout=None)
        self._adversary.replace_rows(
            Target(row_part, server.defence, of_row), Target(buffer_part, server.buffer_defence, of_buffers)
        )

    def _diagnose(self, updates: UpdateMatrix, context: RoundContext, decision: Decision) -> ServerOutcome:
        defence = self._server.defence
        diagnostics = defence.diagnostics
        of_row = {"update_norm": updates.row_norms()}
        of_aggregated = dict(diagnostics.per_client) if defence.aggregates_clients else {}
        server: dict[str, float | None] = dict.fromkeys(
            ("detection_auc", "aggregation_error", "aggregation_error_ratio")
        )
        finite = updates.finite_rows()
        byzantine = self._adversary.plan.attackers(context.round)
        honest = [row for row, client in enumerate(context.client_ids) if client not in byzantine and finite[row]]
        if honest:
            of_row["cosine_to_honest"], spread = cosines_to_honest_mean(updates, honest)
            error = float((decision.aggregate.double() - updates.select(honest).mean().double()).norm())
            server["aggregation_error"] = error
            server["aggregation_error_ratio"] = error / float(spread) if spread > 0 else None
        trust = diagnostics.trust
        if trust is not None and defence.aggregates_clients and len(trust) == len(decision.client_ids):
            of_aggregated["trust"] = trust
            server["detection_auc"] = detection_auc(trust.cpu(), decision.client_ids, byzantine)
        by_client = {name: _by_client(values, context.client_ids) for name, values in of_row.items()}
        for name, values in of_aggregated.items():
            if len(values) == len(decision.client_ids):  # a row that a pre-aggregator made overflow has none
                by_client[name] = _by_client(values, decision.client_ids)
        return ServerOutcome(
            decision.step,
            server={
                **server,
                **diagnostics.scalars,
                "step_norm": float(decision.step[: self._layout.size].double().norm()),
                "nonfinite_clients": len(decision.nonfinite_clients),
                "nonfinite_aggregate": decision.nonfinite_aggregate,
            },
            clients=by_client,
            attack=self._adversary.record(context),
            nonfinite_clients=decision.nonfinite_clients,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "server": self._server.state_dict(),
            "adversary": self._adversary.state_dict(),
            "momentum": self._momentum.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._server.load_state_dict(state["server"])
        self._adversary.load_state_dict(state["adversary"])
        self._momentum.load_state_dict(state["momentum"])


def _by_client(values: Tensor, clients: Sequence[int]) -> dict[int, float]:
    return dict(zip(clients, values.tolist(), strict=True))
