"""The local work of several clients at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.seeds import derive_seed, seeded
from fedsim.stop_request import StopRequest
from fedsim.training.client import ClientData, LocalWork, count_batches
from fedsim.training.freezing import set_training
from fedsim.training.precision import matmul_precision
from fedsim.training.vectorized_batches import GroupBatches
from fedsim.training.vectorized_steps import VectorizedSteps
from fedsim.updates.model_rows import ModelRows


class VectorizedTrainer:
    """Trains the clients of a group at once, where a :class:`~fedsim.training.client.Trainer` takes turns.

    Every client sees the batches, augmentations and labels that it has there, and only the order of floating-point
    sums differs. Each step computes a batch of every client with ``torch.func.vmap`` over the rows of a matrix of
    parameters [N, D]. A client without further batches drops out: with those that have most in front, the clients
    that go on are the first rows of the matrix. Where a client's batch is smaller than another's, samples without
    weight fill it up.

    What a client's row is to the last bit depends on the others of its group, so groups must not depend on ranks:
    see :class:`~fedsim.participation.groups.ClientGroups`.

    Args:
        rows: the model and its layout; the model has passed
            :func:`fedsim.training.vectorized_checks.require_vectorizable`.
        data: of all clients.
        work: what every client does in a round.
        seed: of the run.
        stop: whether this rank has been asked to stop.
    """

    def __init__(
        self, rows: ModelRows, data: ClientData, work: LocalWork, seed: int, stop: StopRequest | None = None
    ) -> None:
        self._rows, self._data, self._work, self._seed = rows, data, work, seed
        self._stop = stop or StopRequest()
        self._class_counts = data.class_counts()

    def update_all(
        self, clients: Sequence[int], round_index: int, state: Tensor, outs: Sequence[Tensor]
    ) -> list[float]:
        """Write the update of each client for ``round`` into its row of ``outs``.

        Args:
            clients: ids, in any order.
            state: global parameters and buffers [D + D_b].
            outs: a row [D + D_b] to write for each client; zero if the client has no batch.

        Returns:
            Each client's mean training loss, NaN without a batch.
        """
        size = self._rows.layout.size
        steps = {client: count_batches(len(self._data.client_indices[client]), self._work) for client in clients}
        longest_first = sorted(clients, key=lambda client: (-steps[client], client))
        training = [client for client in longest_first if steps[client]]
        self._rows.load(state[:size], state[size:])
        set_training(self._rows.model)
        draws = seeded(derive_seed(self._seed, "local work", round_index, *training), self._data.inputs.device)
        with draws, matmul_precision(self._work.matmul, state.device):
            updates, losses = self._train(training, round_index, state[:size], [steps[one] for one in training])
        place = {client: position for position, client in enumerate(training)}
        for client, out in zip(clients, outs, strict=True):
            if client in place:
                out[:size].copy_(updates[place[client]].to(self._work.wire_dtype))
            out[size if client in place else 0 :].zero_()  # a model that can be vectorised changes no buffers
        return [losses[place[client]] if client in place else float("nan") for client in clients]

    def _train(
        self, clients: Sequence[int], round_index: int, start: Tensor, steps: Sequence[int]
    ) -> tuple[Tensor, list[float]]:
        """Do the local steps of clients, longest first; their updates [A, D] and mean losses."""
        if not clients:
            return start.new_empty(0, len(start)), []
        work = self._work
        batches = GroupBatches(clients, round_index, self._data, self._class_counts, work, self._seed)
        taking = VectorizedSteps(
            work.rules,
            self._rows.model,
            self._rows.layout,
            start,
            len(clients),
            lambda parameters: work.optimizer(parameters, round_index),
        )
        losses = torch.zeros(len(clients), dtype=torch.float64, device=start.device)
        for batch in batches:
            if self._stop.received:  # the round will be given up
                return torch.zeros_like(taking.rows), [float("nan")] * len(clients)
            active = len(batch.labels)
            taking.keep(active)
            losses[:active] += taking.backward(batch)
            if work.send == "delta":
                taking.step()
        updates = taking.gradients if work.send == "gradient" else torch.sub(start, taking.rows, out=taking.rows)
        return updates, (losses / torch.tensor(steps, device=start.device)).tolist()
