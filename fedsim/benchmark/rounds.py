"""A whole round against a plain PyTorch loop that does the same local steps and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from fedsim.benchmark.between_ranks import duration_on_ranks
from fedsim.benchmark.measure import Duration, Reading
from fedsim.build.components import Components
from fedsim.build.data import RunData, distribute
from fedsim.build.parts import build_participation
from fedsim.build.run import open_run
from fedsim.comm import Communicator, RankPlace
from fedsim.data.inputs import Inputs
from fedsim.simulation import Simulation


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
                    self.model(self.train.batch(batch, self.augment)).flatten(0, -2),
                    self.train.labels[batch].flatten().to(self.device),
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
        data = load_data(components)
        plain, mine = plain_loop(components, data, comm), clients_that_train(components, data, place)
        plain(mine)
        RoundWork(run, 0)()
        loops, rounds, phases = [], [], []
        for round_index in range(1, repeats + 1):
            loops.append(duration_on_ranks(comm, lambda: plain(mine), comm.device, until_all=True))
            work = RoundWork(run, round_index)
            rounds.append(duration_on_ranks(comm, work, comm.device, until_all=True))
            phases.append(work.phases())
        opened.close("completed")
    names = sorted(phases[0], key=lambda name: -median(times[name].wall for times in phases))
    without = [_less(whole, times["evaluate"]) for whole, times in zip(rounds, phases, strict=True)]
    return [
        Reading.of("round", rounds, loops),
        Reading.of("round less evaluation", without, loops),
        *(Reading.of(f"  {name}", [times[name] for times in phases], loops) for name in names),
    ]


def _less(whole: Duration, part: Duration) -> Duration:
    return Duration(whole.wall - part.wall, whole.cpu - part.cpu)


class RoundWork:
    """One round of a run, and the writing of its record."""

    def __init__(self, run: Simulation, round_index: int) -> None:
        self._run, self._index = run, round_index
        self._wall: Mapping[str, float] = {}

    def __call__(self) -> None:
        record = self._run.run_round(self._index)
        assert record is not None, "nobody asked to stop"
        self._run.write(record)
        self._wall = record.times

    def phases(self) -> dict[str, Duration]:
        """The duration of each phase on this rank; ``record`` is that of the round before."""
        cpu = self._run.phases.cpu_seconds
        return {name: Duration(seconds, cpu[name]) for name, seconds in self._wall.items()}


def clients_that_train(components: Components, data: RunData, place: RankPlace) -> list[int]:
    """Clients of the first round on this rank, without those that attack without training."""
    hosted = build_participation(components, data, place.size).clients_on(place.rank, 0)
    return [client for client in hosted if client not in components.attack_plan.always_idle]


def load_data(components: Components) -> RunData:
    """The data of a run, without ranks."""
    splits = components.source.load(components.data_root)
    return distribute(components, splits, components.statistics(splits))


def plain_loop(components: Components, data: RunData, comm: Communicator) -> PlainLoop:
    """The plain loop of a run's clients."""
    model = components.model.build_for(data.task).to(comm.device)
    generator = torch.Generator().manual_seed(0)
    return PlainLoop(components, data.train_inputs(comm.device), data.client_indices, model, comm.device, generator)
