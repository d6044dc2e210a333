"""The run: rounds of local work, gather, attack, aggregation, broadcast, evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedsim.comm import Communicator, RowTransport
from fedsim.errors import RankError
from fedsim.evaluation.evaluator import NOT_EVALUATED, Evaluation, Evaluator
from fedsim.participation.attack_plan import AttackPlan
from fedsim.participation.sampling import participants
from fedsim.records.phases import Phases
from fedsim.records.writers import RecordWriter
from fedsim.run_directory.checkpoint import CheckpointKeeper
from fedsim.server.round import Head
from fedsim.stop_request import StopRequest
from fedsim.training.client import Trainer
from fedsim.updates.model_rows import ModelRows


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a run is and how often it does what; who takes part."""

    seed: int
    rounds: int
    num_clients: int
    participants_per_round: int
    attack_plan: AttackPlan
    homes: tuple[int, ...]
    evaluate_every: int
    checkpoint_every: int
    check_every: int
    stops_on_divergence: bool = True

    def due(self, every: int, done: int) -> bool:
        """Whether something that happens every ``every`` rounds is due after ``done`` rounds, or at the end."""
        return done % every == 0 or done == self.rounds


class Simulation:
    """One rank's part of a run.

    Args:
        rows: this rank's model.
        state: global parameters and buffers [D + D_b]; every rank holds the same bits.
        head: attack and aggregation on rank 0, an empty seat elsewhere.
        stop: whether this rank has been asked to stop.
        done: rounds that a resumed run has behind it.
    """

    def __init__(
        self,
        *,
        schedule: Schedule,
        comm: Communicator,
        rows: ModelRows,
        state: Tensor,
        trainer: Trainer,
        transport: RowTransport,
        head: Head,
        evaluator: Evaluator,
        writer: RecordWriter,
        checkpoints: CheckpointKeeper,
        phases: Phases,
        stop: StopRequest | None = None,
        done: int = 0,
    ) -> None:
        self._schedule, self.comm, self._rows, self.state = schedule, comm, rows, state
        self._trainer, self._transport, self._head = trainer, transport, head
        self._evaluator, self._writer, self._checkpoints = evaluator, writer, checkpoints
        self.phases, self.done = phases, done
        self._stop = stop or StopRequest()

    def run(self) -> str:
        """Run the remaining rounds; each leaves a record, some a checkpoint.

        Returns:
            How it ended: ``completed``; ``interrupted`` if some rank was asked to stop, a checkpoint is then made; or
            ``diverged`` if the global model is not finite any more, its last good checkpoint is then the newest.
        """
        while self.done < self._schedule.rounds:
            record = self.run_round(self.done)
            if record is None:
                self._save()
                return "interrupted"
            self.done += 1
            with self.phases("record"):
                self._writer.write({"round": self.done, **record})
            if self._schedule.due(self._schedule.check_every, self.done):
                self._check_drift()
            finite = bool(self.state.sum(dtype=torch.float64).isfinite())
            if not finite and self._schedule.stops_on_divergence:
                return "diverged"
            if finite and self._schedule.due(self._schedule.checkpoint_every, self.done):
                self._save()
        self.comm.barrier("end")
        return "completed"

    def _save(self) -> None:
        with self.phases("checkpoint"):
            self._checkpoints.save(self.done, {"state": self.state, "head": self._head.state_dict()})

    def run_round(self, round: int) -> dict[str, Any] | None:
        """One round; what is to be recorded about it. None if it was given up, before anything has changed."""
        schedule = self._schedule
        clients = participants(schedule.seed, round, schedule.num_clients, schedule.participants_per_round)
        with self.phases("local_work"):
            losses = self._train(round, clients)
        with self.phases("gather"):
            rows = self._transport.gather([schedule.homes[client] for client in clients])
            asked = torch.tensor([float(self._stop.received)], dtype=torch.float64)
            by_rank = self.comm.all_gather(torch.cat([losses, asked]))
        if by_rank[:, -1].any():  # all ranks agree on the round in which they stop
            return None
        outcome = self._head.decide(rows, self.state, round, clients)
        with self.phases("broadcast"):
            self._move(outcome.step, rows)
        with self.phases("evaluate"):
            evaluation = self._evaluate(round + 1)
        idle = schedule.attack_plan.idle(round)
        trained = [client for client in clients if client not in idle]
        train_losses = {client: float(by_rank[schedule.homes[client], client]) for client in trained}
        mean_loss = torch.tensor(list(train_losses.values())).nanmean()  # NaN: diverged, or no batch to train on
        quality = NOT_EVALUATED if evaluation is None else evaluation.record()
        record = {**quality, "train_loss": float(mean_loss), **outcome.record}
        record["clients"] = {**record.get("clients", {}), "train_loss": train_losses}
        if evaluation is not None and evaluation.client_accuracy:
            record["clients"]["test_accuracy"] = evaluation.client_accuracy
        record["times"] = self.phases.finish_round()
        return record

    def _move(self, step: Tensor, rows: Tensor | None) -> None:
        """Bring the step of rank 0 to all ranks and take it.

        With a single client whose update is the step, the new global model is that client's model. In float32 its
        parameters are not always w - (w - w_client), so rank 0, where it lives, hands out the parameters themselves.
        """
        if self._schedule.num_clients > 1:
            self.comm.broadcast(step)
            self.state -= step
            return
        moved = self.state - step
        if rows is not None and torch.equal(step, rows[0].to(step.device)):
            moved = torch.cat(self._rows.read())
        self.comm.broadcast(moved)
        self.state.copy_(moved)

    def _train(self, round: int, clients: Sequence[int]) -> Tensor:
        """The local work of the clients that live here; training losses [K], NaN for the others."""
        idle = self._schedule.attack_plan.idle(round)
        losses = torch.full((self._schedule.num_clients,), torch.nan, dtype=torch.float64)
        for slot, client in enumerate(clients):
            if self._schedule.homes[client] == self.comm.rank and client not in idle and not self._stop.received:
                self.phases.at(f"client {client}")
                losses[client] = self._trainer.update(client, round, self.state, self._transport.row(slot))
        return losses

    def _evaluate(self, done: int) -> Evaluation | None:
        if not self._schedule.due(self._schedule.evaluate_every, done):
            return None
        parameters = self._rows.layout.size
        self._rows.load(self.state[:parameters], self.state[parameters:])
        return self._evaluator.evaluate(self._rows.model)

    def _check_drift(self) -> None:
        """RankError if a rank does not hold the same parameters as rank 0, to the last bit."""
        with self.phases("drift check"):
            checksum = self.state.view(torch.int32).sum(dtype=torch.int64).cpu()
            checksums = self.comm.all_gather(checksum)
            drifted = (checksums != checksums[0]).nonzero().flatten().tolist()
        if drifted:
            who = "; ".join(f"{self._who(rank)} has drifted" for rank in drifted)
            raise RankError(f"{who}: after round {self.done} it does not hold the parameters of rank 0")

    def _who(self, rank: int) -> str:
        clients = [client for client, home in enumerate(self._schedule.homes) if home == rank]
        where = f", home of client{'s' * (len(clients) > 1)} {', '.join(map(str, clients))}" if clients else ""
        return f"{self.comm.watch.standing(rank)}{where}"

    def close_records(self, status: str) -> None:
        """Close the records, with the status ``completed``, ``failed``, ``interrupted`` or ``diverged``."""
        self._writer.close(status)
