"""The head of a round: adversary and server on rank 0, an empty seat on the other ranks."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from fedsim.records.phases import Phases
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
class Outcome:
    """The step [D + D_b] and what is to be recorded about how it came about."""

    step: Tensor
    record: Mapping[str, Any] = field(default_factory=dict)


class Head(ABC):
    """Turns gathered rows into the step."""

    @abstractmethod
    def decide(self, rows: Tensor | None, state: Tensor, round: int, clients: Sequence[int]) -> Outcome:
        """The outcome of a round; off rank 0 the step is still to be filled by the broadcast."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that later rounds depend on."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""


class EmptySeat(Head):
    """Every rank but 0."""

    def decide(self, rows: Tensor | None, state: Tensor, round: int, clients: Sequence[int]) -> Outcome:
        return Outcome(torch.empty_like(state))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


class ServerHead(Head):
    """Rank 0: attack, then aggregation, then a look at both.

    Args:
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
        self._counts = sample_counts
        self._adversary, self._server, self._layout, self._seed = adversary, server, layout, seed
        self._phases, self._momentum = phases, momentum or ClientMomentum(0.0)
        self._warned_of_majority = False

    def decide(self, rows: Tensor | None, state: Tensor, round: int, clients: Sequence[int]) -> Outcome:
        assert rows is not None
        rows = rows.to(state.device)
        last_step, cut = self._server.last_step, self._layout.size
        context = RoundContext(
            round=round,
            client_ids=tuple(clients),
            layout=self._layout,
            last_step=None if last_step is None else last_step[:cut],
            generator=derive_generator(self._seed, "aggregator", round),
            sample_counts=None if self._counts is None else tuple(self._counts[client] for client in clients),
        )
        self._warn_of_majority(context)
        idle = self._adversary.plan.idle(round)
        trained = [slot for slot, client in enumerate(clients) if client not in idle]
        self._momentum.apply([rows[slot, :cut] for slot in trained], [clients[slot] for slot in trained])
        with self._phases("attack"):
            self._attack(rows, context)
        with self._phases("aggregate"):
            decision = self._server.decide(rows, state, context)
        with self._phases("diagnose"):
            record = self._record(UpdateMatrix(rows[:, :cut]), context, decision)
        return Outcome(decision.step, record)

    def _warn_of_majority(self, context: RoundContext) -> None:
        """A round of few participants may draw more Byzantine clients than any defence withstands: said once."""
        under = self._adversary.plan.attackers(context.round)
        hostile, everybody = sum(client in under for client in context.client_ids), len(context.client_ids)
        if 2 * hostile >= everybody and not self._warned_of_majority:
            text = "round %d: %d of the %d participants are Byzantine; later rounds only record it (attack.share)"
            log.warning(text, context.round + 1, hostile, everybody)
            self._warned_of_majority = True

    def _attack(self, rows: Tensor, context: RoundContext) -> None:
        """Let the adversary at what the defence sees, and at the buffers by themselves where they travel so."""
        server, last_step = self._server, self._server.last_step
        row_part, buffer_part = server.split(rows)
        row_step, buffer_step = (None, None) if last_step is None else server.split(last_step)
        self._adversary.replace_rows(
            Target(row_part, server.defence, replace(context, last_step=row_step)),
            Target(buffer_part, server.buffer_defence, replace(context, last_step=buffer_step, layout=None)),
        )

    def _record(self, updates: UpdateMatrix, context: RoundContext, decision: Decision) -> dict[str, Any]:
        diagnostics = self._server.defence.diagnostics
        of_row = {"update_norm": updates.row_norms()}
        of_aggregated = dict(diagnostics.per_client) if self._server.defence.aggregates_clients else {}
        server: dict[str, Any] = {"detection_auc": None, "aggregation_error": None, "aggregation_error_ratio": None}
        finite = updates.finite_rows()
        hostile = self._adversary.plan.attackers(context.round)
        honest = [row for row, client in enumerate(context.client_ids) if client not in hostile and finite[row]]
        if honest:
            of_row["cosine_to_honest"], spread = cosines_to_honest_mean(updates, honest)
            error = float((decision.aggregate.double() - updates.select(honest).mean().double()).norm())
            server["aggregation_error"] = error
            server["aggregation_error_ratio"] = error / float(spread) if spread > 0 else None
        trust = diagnostics.trust
        if trust is not None and self._server.defence.aggregates_clients and len(trust) == len(decision.client_ids):
            of_aggregated["trust"] = trust
            server["detection_auc"] = detection_auc(trust.cpu(), decision.client_ids, hostile)
        by_client = {name: _by_client(values, context.client_ids) for name, values in of_row.items()}
        for name, values in of_aggregated.items():
            if len(values) == len(decision.client_ids):  # a row that a pre-aggregator made overflow has none
                by_client[name] = _by_client(values, decision.client_ids)
        return {
            "server": {
                **server,
                **diagnostics.scalars,
                "step_norm": float(decision.step[: self._layout.size].double().norm()),
                "nonfinite_clients": len(decision.nonfinite_clients),
                "nonfinite_aggregate": decision.nonfinite_aggregate,
            },
            "clients": by_client,
            "attack": self._adversary.report(context),
            "nonfinite_clients": decision.nonfinite_clients,
        }

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
