"""What a round costs as the number of clients grows: each phase, per client."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from fedsim.benchmark.between_ranks import duration_on_ranks
from fedsim.benchmark.measure import Duration, Reading
from fedsim.benchmark.rounds import RoundWork, clients_that_train, load_data, plain_loop
from fedsim.build.components import Components
from fedsim.build.run import open_run
from fedsim.comm import RankPlace

AGGREGATORS = ("cwtm", "krum", "fedseca")
"""A column map, a rule of pairwise distances, and one of both kinds."""

PLAIN = 100
"""Clients of the plain loop at most; its time is scaled up to all."""


def small_work(clients: int, aggregator: str) -> dict[str, Any]:
    """One step on four digits for each client, so that whatever is not training shows."""
    return {
        "data": {"name": "mnist5k", "partition": {"name": "iid"}},
        "clients": {"count": clients, "local_steps": 1, "batch_size": 4},
        "attack": {"name": "alie", "num_byzantine": clients // 5},
        "aggregator": {"name": aggregator},
    }


def time_clients(components: Components, place: RankPlace, repeats: int, name: str) -> Reading:
    """The reading of a round in plain loops; its figures are CPU milliseconds per client, of each phase on rank 0.

    The CPU time of phases is read on rank 0; that of the round, over all ranks.
    """
    config = components.config
    with tempfile.TemporaryDirectory() as folder:
        changed = config.model_copy(update={"output_dir": folder, "rounds": repeats + 2})
        opened = open_run(Components(**{**vars(components), "config": changed}), place, resume=False)
        run, data = opened.simulation, load_data(components)
        comm, plain = run.comm, plain_loop(components, data, run.comm)
        mine = clients_that_train(components, data, place)
        few = mine[:PLAIN]
        plain(few)
        RoundWork(run, 0)()
        loops, rounds, phases = [], [], []
        for round_index in range(1, repeats + 1):
            loop = duration_on_ranks(comm, lambda: plain(few), comm.device, until_all=True)
            loops.append(Duration(*(value * len(mine) / len(few) for value in loop)))
            work = RoundWork(run, round_index)
            rounds.append(duration_on_ranks(comm, work, comm.device, until_all=True))
            phases.append(work.phases())
        columns = run.model.num_parameters
        opened.close("completed")
    clients = config.participants_per_round
    figures: dict[str, float | None] = {"clients": clients, "D": columns, "ranks": place.size}
    figures["ms per client"] = 1e3 * median(one.wall for one in rounds) / clients
    return replace(Reading.of(name, rounds, loops), figures={**figures, **per_client(phases, clients)})


def per_client(phases: Sequence[Mapping[str, Duration]], clients: int) -> dict[str, float]:
    """Median CPU milliseconds of each phase, for each client."""
    return {name: 1e3 * median(one[name].cpu for one in phases) / clients for name in phases[0]}
