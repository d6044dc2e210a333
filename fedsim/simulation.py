"""The run: rounds of local work, gather, attack, aggregation, broadcast, evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from fedsim.comm import Communicator, RowTransport
from fedsim.errors import RankError, shortened
from fedsim.evaluation.early_stopping import EarlyStopping
from fedsim.evaluation.evaluator import Evaluation, Evaluator
from fedsim.participation.participants import Participation
from fedsim.records.phases import Phases
from fedsim.records.round_record import ByClient, Quality, RoundRecord
from fedsim.records.writers import RecordWriter
from fedsim.run_directory.checkpoint import CheckpointKeeper
from fedsim.server.round import ServerOutcome, ServerRound
from fedsim.stop_request import StopRequest
from fedsim.training.client import ClientTrainer
from fedsim.updates.global_model import GlobalModel

LONGEST_LIST = 60
"""Letters of a list of clients in a message."""


@dataclass(frozen=True, kw_only=True)
class RunSchedule:
    """How long a run is and how often it does what."""

    rounds: int
    evaluate_every: int
    checkpoint_every: int
    check_every: int
    stops_on_divergence: bool = True

    def due(self, every: int, done: int) -> bool:
        """Whether something that happens every ``every`` rounds is due after ``done`` rounds, or at the end."""
        return done % every == 0 or done == self.rounds


@dataclass(frozen=True)
class LocalClients:
    """The clients of this rank: who trains them, and where their rows go."""

    trainer: ClientTrainer
    transport: RowTransport


@dataclass(frozen=True)
class Recording:
    """What this rank keeps of the run."""

    writer: RecordWriter
    checkpoints: CheckpointKeeper
    phases: Phases


class Simulation:
    """One rank's part of a run.

    Args:
        server: attack and aggregation on rank 0, a no-op elsewhere.
        evaluator: on the test samples.
        validator: on the validation samples, if there are any.
        stopping: ends the run early; that of rank 0 counts, which knows the rounds before a resumed one.
        stop: whether this rank has been asked to stop.
        done: rounds that a resumed run has behind it.
    """

    def __init__(
        self,
        *,
        schedule: RunSchedule,
        participation: Participation,
        comm: Communicator,
        model: GlobalModel,
        local: LocalClients,
        server: ServerRound,
        evaluator: Evaluator,
        validator: Evaluator | None = None,
        recording: Recording,
        stopping: EarlyStopping | None = None,
        stop: StopRequest | None = None,
        done: int = 0,
    ) -> None:
        self._schedule, self._participation, self.comm, self.model = schedule, participation, comm, model
        self._trainer, self._transport = local.trainer, local.transport
        self._server, self._evaluator, self._validator = server, evaluator, validator
        self._writer, self._checkpoints, self._phases = recording.writer, recording.checkpoints, recording.phases
        self._stopping, self._stop, self.done = stopping, stop or StopRequest(), done
        self.divergence: str | None = None
        """Why the last round counts as diverged, in words; None if it does not."""

    def run(self) -> str:
        """Run the remaining rounds; each leaves a record, some a checkpoint.

        Returns:
            How it ended: ``completed``; ``interrupted`` if some rank was asked to stop, a checkpoint is then made; or
            ``diverged``, its last good checkpoint is then the newest: see :attr:`divergence`.
        """
        ends = self._ends_early()
        while self.done < self._schedule.rounds and not ends:
            record = self.run_round(self.done)
            if record is None:
                self._save()
                return "interrupted"
            self.done += 1
            self.write(record)
            ends = self._ends_early(record)
            if self._schedule.due(self._schedule.check_every, self.done):
                self._check_drift()
            if self.divergence and self._schedule.stops_on_divergence:
                return "diverged"
            if not self.divergence and (ends or self._schedule.due(self._schedule.checkpoint_every, self.done)):
                self._save()
        self.comm.barrier("end")
        return "diverged" if self.divergence else "completed"

    def _ends_early(self, record: RoundRecord | None = None) -> bool:
        """Whether the run ends here, with the record of its last round, as rank 0 says."""
        if self._stopping is None:
            return False
        if record is not None:
            self._stopping.after(record)
        flag = torch.tensor([float(self._stopping.ends_after(self.done))])
        self.comm.broadcast(flag)
        return bool(flag)

    def run_round(self, round_index: int) -> RoundRecord | None:
        """One round, from 0; its record. None if it was given up, before anything has changed."""
        clients = self._participation.clients(round_index)
        with self._phases("local_work"):
            losses = self._train(round_index, clients)
        with self._phases("gather"):
            hosts = self._participation.hosts(round_index)
            rows = self._transport.gather([hosts[client] for client in clients])
            losses, stopping = self._exchange(losses, hosts)
        if stopping:
            return None
        outcome = self._server.aggregate(rows, self.model.state, round_index, clients)
        with self._phases("broadcast"):
            self._take_step(outcome.step)
            useless = self._has_no_usable_row(round_index, clients, outcome)
        with self._phases("evaluate"):
            evaluation = self._evaluate(self._evaluator, round_index)
            validation = None if self._validator is None else self._evaluate(self._validator, round_index)
        self.divergence = self._find_divergence(useless, evaluation)
        return self._record(round_index, losses, outcome, evaluation, validation)

    def _train(self, round_index: int, clients: Sequence[int]) -> Tensor:
        """The local work of the clients that this rank hosts; training losses [K], NaN for the others."""
        losses = torch.full((self._participation.num_clients,), torch.nan, dtype=torch.float64)
        slots = {client: slot for slot, client in enumerate(clients)}
        for group in self._participation.trained_on(self.comm.rank, round_index):
            if self._stop.received:
                break
            self._phases.at(f"client{'s' * (len(group) > 1)} {shortened(', '.join(map(str, group)), LONGEST_LIST)}")
            rows = [self._transport.row(slots[client]) for client in group]
            of_group = self._trainer.update_all(group, round_index, self.model.state, rows)
            losses[group] = torch.tensor(of_group, dtype=torch.float64)
        return losses

    def _exchange(self, losses: Tensor, hosts: Sequence[int]) -> tuple[Tensor, bool]:
        """The losses [K] of all ranks' clients, and whether some rank was asked to stop: all stop in one round."""
        asked = torch.tensor([float(self._stop.received)], dtype=torch.float64)
        by_rank = self.comm.all_gather(torch.cat([losses, asked]))
        return by_rank[torch.tensor(hosts), torch.arange(len(hosts))], bool(by_rank[:, -1].any())

    def _take_step(self, step: Tensor) -> None:
        """Bring the step to all ranks, each of which may have computed some of its coordinates, and take it.

        With a single client whose update is the step, the new global model is that client's model. In float32 its
        parameters are not always w - (w - w_client), so rank 0, which hosts it, sends the parameters themselves.
        """
        state = self.model.state
        if self._participation.num_clients > 1:
            self.comm.complete(step, self._server.ranges)
            state -= step
            return
        trained = self.model.module_values()
        moved = trained if torch.equal(state - trained, step) else state - step
        self.comm.broadcast(moved)
        state.copy_(moved)

    def _has_no_usable_row(self, round_index: int, clients: Sequence[int], outcome: ServerOutcome) -> bool:
        """Whether every honest row contained NaN or infinity, as rank 0 knows it.

        An attack may make finite rows of none. A round for which only Byzantine clients were drawn says nothing.
        """
        honest = set(clients) - set(self._participation.attack_plan.attackers(round_index))
        all_attack = not honest and len(clients) == self._participation.num_clients
        watched = set(clients) if all_attack else honest
        flag = torch.tensor([float(bool(watched) and set(outcome.nonfinite_clients) >= watched)])
        self.comm.broadcast(flag)
        return bool(flag)

    def _find_divergence(self, no_usable_row: bool, evaluation: Evaluation | None) -> str | None:
        """Why training has diverged, the same on every rank; None if it has not."""
        if not self.model.is_finite():
            return "the global model contains NaN or infinity"
        if evaluation is not None and not isfinite(evaluation.loss):
            return "the loss on the test data is NaN or infinite"
        return "every honest client's update contains NaN or infinity" if no_usable_row else None

    def _evaluate(self, evaluator: Evaluator, round_index: int) -> Evaluation | None:
        if not self._schedule.due(self._schedule.evaluate_every, round_index + 1):
            return None
        return evaluator.evaluate(self.model.module(), round_index)

    def _record(
        self,
        round_index: int,
        losses: Tensor,
        outcome: ServerOutcome,
        evaluation: Evaluation | None,
        validation: Evaluation | None,
    ) -> RoundRecord:
        trained = {client: float(losses[client]) for client in self._participation.training(round_index)}
        of_clients: dict[str, ByClient] = {**outcome.clients, "train_loss": trained}
        if evaluation is not None and evaluation.client_accuracy:
            of_clients["test_accuracy"] = evaluation.client_accuracy
        return RoundRecord(
            round=round_index + 1,
            quality=Quality() if evaluation is None else evaluation.quality(),
            validation={} if validation is None else validation.in_short(),
            train_loss=float(torch.tensor(list(trained.values())).nanmean()),  # NaN: diverged, or nothing to train on
            server=outcome.server,
            clients=of_clients,
            attack=outcome.attack,
            nonfinite_clients=outcome.nonfinite_clients,
            metrics={**outcome.metrics, **({} if evaluation is None else evaluation.metrics)},
            times=self._phases.finish_round(),
        )

    def _save(self) -> None:
        with self._phases("checkpoint"):
            state = {"model": self.model.named(), "server": self._server.state_dict()}
            if self._stopping is not None:
                state["stopping"] = self._stopping.state_dict()
            self._checkpoints.save(self.done, state, self._writer.state_dict())

    def _check_drift(self) -> None:
        """RankError if a rank does not hold the same parameters as rank 0, to the last bit."""
        with self._phases("drift check"):
            checksums = self.comm.all_gather(self.model.checksum())
            drifted = (checksums != checksums[0]).nonzero().flatten().tolist()
        if drifted:
            who = "; ".join(f"{self._describe(rank)} has drifted" for rank in drifted)
            raise RankError(f"{who}: after round {self.done} it does not hold the parameters of rank 0")

    def _describe(self, rank: int) -> str:
        clients = self._participation.clients_on(rank, self.done - 1)
        hosts = f", host of client{'s' * (len(clients) > 1)} {', '.join(map(str, clients))}" if clients else ""
        return f"{self.comm.monitor.status(rank)}{hosts}"

    def write(self, record: RoundRecord) -> None:
        """Write the record of a round; the next one says how long it took."""
        with self._phases("record"):
            self._writer.write(record)

    @property
    def phases(self) -> Phases:
        """How long the phases of a round take on this rank."""
        return self._phases

    def close_records(self, status: str) -> None:
        """Close the records, with the status ``completed``, ``failed``, ``interrupted`` or ``diverged``."""
        self._writer.close(status)
