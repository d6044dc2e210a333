"""A whole round against a plain PyTorch loop that does the same local steps and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from fedsim.benchmark.measure import Reading
from fedsim.build.components import Components
from fedsim.build.data import RunData, distribute
from fedsim.build.parts import build_participation
from fedsim.build.run import open_run
from fedsim.comm import Communicator, RankPlace
from fedsim.data.inputs import Inputs


@dataclass(frozen=True)
class PlainLoop:
    """Local training as one would write it by hand: no rows, no seeds, no records."""

    components: Components
    train: Inputs
    client_indices: Sequence[Tensor]
    model: nn.Module
    device: torch.device
    augment: torch.Generator

    def __call__(self, clients: Sequence[int]) -> None:
        start = {name: value.clone() for name, value in self.model.state_dict().items()}
        for client in clients:
            self.model.load_state_dict(start)
            self._train(client)

    def _train(self, client: int) -> None:
        work, indices = self.components.config.clients, self.client_indices[client]
        optimizer = self.components.client_optimizer(list(self.model.parameters()))
        self.model.train()
        order = torch.cat([indices[torch.randperm(len(indices))] for _ in range(work.local_epochs)])
        for batch in order.split(work.batch_size)[: work.local_steps]:
            if len(batch) > 1:
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(
                    self.model(self.train.batch(batch, self.augment)), self.train.labels[batch].to(self.device)
                )
                loss.backward()
                optimizer.step()


def time_round(components: Components, place: RankPlace, repeats: int) -> list[Reading]:
    """Readings of a round, and of each of its phases, in plain loops.

    The plain loop runs on the same ranks: each trains the clients that live there. Its time is that of the
    slowest rank, as a round's is.
    """
    config = components.config
    with tempfile.TemporaryDirectory() as folder:
        # A run of its own, with as many rounds as repetitions; every rank names a folder, only that of rank 0 counts.
        changed = config.model_copy(update={"output_dir": folder, "rounds": repeats + 1})
        opened = open_run(Components(**{**vars(components), "config": changed}), place, resume=False)
        run = opened.simulation
        comm = run.comm
        data = _data(components)
        plain = _plain_loop(components, data, comm)
        idle = components.attack_plan.always_idle
        hosted = build_participation(components, data, place.size).clients_on(place.rank, 0)
        mine = [client for client in hosted if client not in idle]
        plain(mine)
        run.run_round(0)
        loops, rounds, phases = [], [], []
        for round_index in range(1, repeats + 1):
            loops.append(_seconds(comm, lambda: plain(mine)))
            start = perf_counter()
            record = run.run_round(round_index)
            comm.barrier("benchmark")
            rounds.append(perf_counter() - start)
            assert record is not None, "nobody asked to stop"
            phases.append(record.times)
        opened.close("completed")
    names = sorted(phases[0], key=lambda name: -median(times[name] for times in phases))
    without = [seconds - times["evaluate"] for seconds, times in zip(rounds, phases, strict=True)]
    return [
        Reading("round", tuple(rounds), tuple(loops)),
        Reading("round less evaluation", tuple(without), tuple(loops)),
        *(Reading(f"  {name}", tuple(times[name] for times in phases), tuple(loops)) for name in names),
    ]


def _data(components: Components) -> RunData:
    splits = components.source.load(components.data_root)
    return distribute(components, splits, components.statistics(splits))


def _plain_loop(components: Components, data: RunData, comm: Communicator) -> PlainLoop:
    model = components.model.build(data.input_shape, data.num_classes).to(comm.device)
    generator = torch.Generator().manual_seed(0)
    return PlainLoop(components, data.train_inputs(comm.device), data.client_indices, model, comm.device, generator)


def _seconds(comm: Communicator, work: Callable[[], None]) -> float:
    comm.barrier("benchmark")
    start = perf_counter()
    work()
    comm.barrier("benchmark")
    return perf_counter() - start
