"""What is recorded about the rows, the aggregate and the step of a round, for someone who knows who was honest."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

from torch import Tensor

from fedsim.aggregators.base import Diagnostics
from fedsim.aggregators.defence import Defence
from fedsim.evaluation.metrics.base import RoundRows
from fedsim.evaluation.run_metrics import Named, RunMetrics
from fedsim.participation.attack_plan import AttackPlan
from fedsim.records.round_record import ByClient
from fedsim.server.diagnostics import HonestMean, detection_auc
from fedsim.server.server import Decision
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@dataclass(frozen=True)
class Findings:
    """Named numbers about the aggregate and the step, named numbers of each client, and values of further metrics."""

    server: Mapping[str, float | None]
    clients: Mapping[str, ByClient]
    metrics: Named = field(default_factory=dict)


class Diagnosis:
    """Describes a round after the server has decided on its step; no later round depends on it.

    It reads the matrix that was aggregated, with the statistics that are kept there, so that its numbers are the same
    bits whichever defence has read the rows before. What needs a pass of its own over the rows, the comparison with
    the honest mean and the run's metrics of rows, is left out between diagnoses.

    Args:
        plan: who attacks in which round.
        parameters: D; columns behind them are buffers, which no number here covers.
        every: rounds between diagnoses.
        rounds: of the run; the last one is always diagnosed.
        metrics: what else is measured.
    """

    def __init__(
        self,
        plan: AttackPlan,
        parameters: int,
        *,
        every: int = 1,
        rounds: int = 0,
        metrics: RunMetrics | None = None,
    ) -> None:
        self._plan, self._parameters, self._every, self._rounds = plan, parameters, every, rounds
        self._metrics = metrics or RunMetrics()

    def __call__(self, decision: Decision, context: RoundContext, defence: Defence) -> Findings:
        """The findings of a round.

        Args:
            context: of all participants, those whose rows were dropped included.
            defence: what made the aggregate.
        """
        rows, byzantine = self._of_parameters(decision.updates), self._plan.attackers(context.round)
        is_due = self._is_due(context.round + 1)
        honest = _honest_rows(decision, byzantine) if is_due else []
        errors, cosines = _against_honest_mean(rows, honest, decision.aggregate)
        said = defence.diagnostics if decision.client_ids else Diagnostics()  # else it is about an earlier round
        by_defence = _by_defence(said, decision.client_ids) if defence.aggregates_clients else {}
        of_rows = {"update_norm": rows.row_norms(), **cosines}
        step = decision.step[: len(decision.aggregate)]
        measures = is_due and len(decision.client_ids) > 0
        return Findings(
            server={
                "detection_auc": _detection_auc(by_defence.get("trust"), decision, byzantine),
                **errors,
                **said.scalars,
                "step_norm": float(rows.length(step)),
                "nonfinite_clients": len(decision.nonfinite_clients),
                "nonfinite_aggregate": decision.nonfinite_aggregate,
            },
            clients={
                **{name: _of_participants(values, decision, context.client_ids) for name, values in of_rows.items()},
                **{name: _by_client(values, decision.client_ids) for name, values in by_defence.items()},
            },
            metrics=self._metrics.of_rows(_round_rows(rows, honest, decision, context)) if measures else {},
        )

    def _is_due(self, done: int) -> bool:
        return done % self._every == 0 or done == self._rounds

    def _of_parameters(self, updates: UpdateMatrix) -> UpdateMatrix:
        """The columns of the parameters: the matrix that was aggregated itself, unless buffers travel in its rows."""
        return updates if updates.num_columns == self._parameters else updates.columns([(0, self._parameters)])


def _honest_rows(decision: Decision, byzantine: Collection[int]) -> list[int]:
    """Positions of the rows of clients that are honest in this round and sent finite values."""
    others = {*byzantine, *decision.nonfinite_clients}
    return [row for row, client in enumerate(decision.client_ids) if client not in others]


def _round_rows(rows: UpdateMatrix, honest: Sequence[int], decision: Decision, context: RoundContext) -> RoundRows:
    """What metrics are given; their context is that of the rows, without participants whose rows were dropped."""
    position = {client: row for row, client in enumerate(context.client_ids)}
    return RoundRows(
        updates=rows,
        honest=honest,
        aggregate=decision.aggregate,
        step=decision.step[: len(decision.aggregate)],
        context=context.keep([position[client] for client in decision.client_ids]),
    )


def _against_honest_mean(
    rows: UpdateMatrix, honest: Sequence[int], aggregate: Tensor
) -> tuple[dict[str, float | None], dict[str, Tensor]]:
    """The error of the aggregate, and the cosines of the rows; nothing without honest rows."""
    errors: dict[str, float | None] = {"aggregation_error": None, "aggregation_error_ratio": None}
    if not honest:
        return errors, {}
    found = HonestMean.of(rows, honest)
    error, spread = float(found.distance(rows, aggregate)), float(found.spread)
    errors = {"aggregation_error": error, "aggregation_error_ratio": error / spread if spread > 0 else None}
    return errors, {"cosine_to_honest": found.cosines}


def _by_defence(said: Diagnostics, clients: Sequence[int]) -> dict[str, Tensor]:
    """What the aggregator says about each client; a row that a pre-aggregator made overflow has no number."""
    values = {**said.per_client, **({} if said.trust is None else {"trust": said.trust})}
    return {name: of_rows for name, of_rows in values.items() if len(of_rows) == len(clients)}


def _detection_auc(trust: Tensor | None, decision: Decision, byzantine: Collection[int]) -> float | None:
    return None if trust is None else detection_auc(trust.cpu(), decision.client_ids, byzantine)


def _of_participants(values: Tensor, decision: Decision, clients: Sequence[int]) -> dict[int, float]:
    """Values of the aggregated rows, for all participants: NaN for one that sent NaN or infinity."""
    known = {**_by_client(values, decision.client_ids), **dict.fromkeys(decision.nonfinite_clients, nan)}
    return {client: known[client] for client in clients}


def _by_client(values: Tensor, clients: Sequence[int]) -> dict[int, float]:
    return dict(zip(clients, values.tolist(), strict=True))
