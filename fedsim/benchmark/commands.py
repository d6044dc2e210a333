"""The kinds of benchmark, from the options of the command line to a report; their docstrings are in ``--help``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import product

import torch
from tqdm import tqdm

from fedsim.benchmark.broadcast import time_broadcast
from fedsim.benchmark.gather import time_gather
from fedsim.benchmark.inputs import stored_shape, time_inputs
from fedsim.benchmark.local_step import ROW_SENT, StepBenchmark, without_data
from fedsim.benchmark.machine import Conditions, note_for_ranks
from fedsim.benchmark.matrix import MatrixCase, one_read, time_aggregators, time_attacks, time_yardsticks
from fedsim.benchmark.measure import Reading
from fedsim.benchmark.passes import PASSES, time_passes
from fedsim.benchmark.peers.contest import Prepare, hold, prepare_grid, prepare_run
from fedsim.benchmark.peers.contestants import GRIDS, RUNS, Contestant
from fedsim.benchmark.peers.task import Task
from fedsim.benchmark.report import Report
from fedsim.benchmark.rounds import time_round
from fedsim.benchmark.scaling import small_work, time_clients
from fedsim.benchmark.sharded import time_sharded
from fedsim.benchmark.vectorized import STEPS_SHOWN, time_vectorized
from fedsim.build.components import build_components
from fedsim.build.process import prepare_process
from fedsim.cli import QUICKSTART
from fedsim.comm import Communicator, RankPlace, open_communicator
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.errors import ConfigError


def _case(options: argparse.Namespace, byzantine: int) -> MatrixCase:
    if byzantine >= options.clients:
        raise ConfigError("--byzantine", f"{byzantine} of {options.clients} clients", "leave an honest one")
    return MatrixCase(
        clients=options.clients,
        byzantine=byzantine,
        columns=options.columns,
        device=torch.device(options.device),
        repeats=options.repeats,
    )


def _matrix(options: argparse.Namespace) -> str:
    compiled = ", column maps compiled" if getattr(options, "compile_kernels", False) else ""
    return f"K = {options.clients}, D = {options.columns:,}, float32{compiled}"


def measure_aggregators(options: argparse.Namespace, conditions: Conditions) -> Report:
    """Every aggregator, in reads of the matrix [K, D]."""
    case = _case(options, 0)
    timed = time_aggregators(case, options.names, compiled=options.compile_kernels)
    readings = [*time_yardsticks(case), *_with_progress(timed, len(options.names))]
    size = 4 * options.clients * options.columns
    return Report(f"aggregators, {_matrix(options)}", "reads", one_read("matrix"), conditions, readings, size)


def measure_passes(options: argparse.Namespace, conditions: Conditions) -> Report:
    """The passes over the rows that methods are made of, each alone, in reads of the matrix [K, D]."""
    size = 4 * options.clients * options.columns
    readings = _with_progress(time_passes(_case(options, 0)), len(PASSES))
    return Report(f"passes, {_matrix(options)}", "reads", one_read("matrix"), conditions, readings, size)


def measure_attacks(options: argparse.Namespace, conditions: Conditions) -> Report:
    """Every attack, in reads of the honest rows [H, D]."""
    case = _case(options, options.byzantine)
    timed = time_attacks(case, options.names, options.aggregator, compiled=options.compile_kernels)
    readings = [*time_yardsticks(case), *_with_progress(timed, len(options.names))]
    size = 4 * (options.clients - options.byzantine) * options.columns
    title = f"attacks by {options.byzantine}, {_matrix(options)}, probing {options.aggregator}"
    return Report(title, "reads", one_read("honest rows"), conditions, readings, size)


def _with_progress(readings: Iterable[Reading], total: int) -> list[Reading]:
    return list(tqdm(readings, total=total, unit="method", disable=not sys.stderr.isatty()))


def measure_gather(options: argparse.Namespace, conditions: Conditions) -> Report | None:
    """The gather of K rows from K ranks, in copies of the matrix [K, D]."""
    return _between_ranks("gather", time_gather, options, conditions)


def measure_broadcast(options: argparse.Namespace, conditions: Conditions) -> Report | None:
    """The broadcast of a step [D] to K ranks, in copies of the step."""
    return _between_ranks("broadcast", time_broadcast, options, conditions)


def measure_sharded(options: argparse.Namespace, conditions: Conditions) -> Report | None:
    """Aggregators on some columns on each rank, in the time of all on rank 0."""
    _needs_ranks(2, conditions)
    place = RankPlace.from_environment()
    comm = open_communicator(place, place.device(options.device), 600)
    case = MatrixCase(
        clients=options.clients, byzantine=0, columns=options.columns, device=comm.device, repeats=options.repeats
    )
    readings = time_sharded(comm, case, options.names)
    title = f"aggregators on {comm.size} ranks, {comm.description}, K = {case.clients}, D = {case.columns:,}"
    comm.barrier("end")
    comm.close()
    return Report(title, "of whole", "whole, on rank 0", conditions, readings) if place.rank == 0 else None


def _between_ranks(
    what: str,
    measured: Callable[[Communicator, int, int], list[Reading]],
    options: argparse.Namespace,
    conditions: Conditions,
) -> Report | None:
    _needs_ranks(options.clients, conditions)
    place = RankPlace.from_environment()
    comm = open_communicator(place, place.device(options.device), 600)
    readings = measured(comm, options.columns, options.repeats)
    how = f"{comm.size} ranks, {comm.description}, D = {options.columns:,}"
    comm.barrier("end")
    comm.close()
    yardstick = "a copy of the same values into warm memory on rank 0"
    return Report(f"{what}, {how}", "copies", yardstick, conditions, readings) if place.rank == 0 else None


def measure_round(options: argparse.Namespace, conditions: Conditions) -> Report | None:
    """A round of a run, in plain PyTorch loops of the same local steps."""
    values, _ = apply_overrides(read_yaml(options.config or QUICKSTART), options.overrides)
    runtime = {**values.get("runtime", {}), "threads": options.threads, "device": options.device}
    components = build_components(parse_config({**values, "runtime": runtime}))
    place = RankPlace.from_environment()
    readings = time_round(components, place, options.repeats)
    title = f"a round of {components.run_name()} on {place.size} ranks"
    yardstick = "a plain PyTorch loop of the same local steps, on the same ranks"
    return Report(title, "loops", yardstick, conditions, readings) if place.rank == 0 else None


def measure_scaling(options: argparse.Namespace, conditions: Conditions) -> Report | None:
    """A round of many clients, in plain PyTorch loops of the same local steps; each phase, per client."""
    cases = list(product(options.names, options.clients))
    if options.ranks > 1 and len(cases) > 1:  # a process group is opened once in a launch
        problem = f"{options.ranks} ranks measure one aggregator with one number of clients, not {len(cases)} cases"
        raise ConfigError("--ranks", problem, "give one of --names and one of --clients")
    _needs_ranks(options.ranks, conditions)
    place = RankPlace.from_environment()
    readings = []
    for name, clients in cases:
        values, _ = apply_overrides(small_work(clients, name), options.overrides)
        runtime = {**values.get("runtime", {}), "threads": options.threads, "device": options.device}
        components = build_components(parse_config({**values, "runtime": runtime}))
        prepare_process(components)
        readings.append(time_clients(components, place, options.repeats, f"{name}, {clients} clients"))
    yardstick = "a plain PyTorch loop of the same local steps, on the same ranks"
    title = f"a round of many clients on {place.size} rank{'s' * (place.size > 1)}"
    notes = ["Phases are CPU milliseconds of rank 0 for each client."]
    return Report(title, "loops", yardstick, conditions, readings, notes=notes) if place.rank == 0 else None


def measure_step(options: argparse.Namespace, conditions: Conditions) -> Report:
    """A local step of a config's model on random images, in plain PyTorch steps."""
    values, _ = apply_overrides(read_yaml(options.config or QUICKSTART), options.overrides)
    runtime = {**values.get("runtime", {}), "threads": options.threads, "device": options.device}
    components = build_components(parse_config({**without_data(values, options.side), "runtime": runtime}))
    prepare_process(components)
    device = RankPlace(0, 1, 0, 1).device(options.device)
    benchmark = StepBenchmark(components, device, options.steps, options.row)
    reading = benchmark.time(options.repeats)
    readings = [reading, *(benchmark.time_parts(reading) if options.parts and not reading.problem else ())]
    parameters = benchmark.parameters
    shape = " x ".join(map(str, components.source.settings.shape))
    model = getattr(components.model.settings, "architecture", components.model.name)
    batch = f"{components.config.clients.batch_size} images of {shape}"
    row = f"row of {4 * parameters / 1e6:.0f} MB" + ROW_SENT[options.row]
    title = ", ".join([f"a local step of {model}", batch, row, f"on the {device.type}", *options.overrides])
    return Report(
        title, "plain steps", "a step of a plain PyTorch loop in float32", conditions, readings, 4 * parameters
    )


def measure_vectorize(options: argparse.Namespace, conditions: Conditions) -> Report:
    """Clients that are trained at once, in the time that they take in turn."""
    values, _ = apply_overrides(read_yaml(options.config or QUICKSTART), options.overrides)
    runtime = {**values.get("runtime", {}), "threads": options.threads, "device": options.device}
    values = {**without_data(values, None), "runtime": runtime}
    readings = []
    for name in options.models:
        components = build_components(parse_config({**values, "model": {"name": name}}))
        prepare_process(components)
        device = RankPlace(0, 1, 0, 1).device(options.device)
        readings += time_vectorized(components, options.at_once, device, options.repeats)
    size = components.config.clients.batch_size
    title = f"{STEPS_SHOWN} steps of a client, batches of {size} images, on the {device.type}"
    return Report(title, "in turn", "the same clients one after another", conditions, readings)


def measure_inputs(options: argparse.Namespace, conditions: Conditions) -> Report:
    """A batch of augmented images, in passes through a config's model and back."""
    values, _ = apply_overrides(read_yaml(options.config or QUICKSTART), options.overrides)
    components = build_components(parse_config(values), require_data=False)
    device = RankPlace(0, 1, 0, 1).device(options.device)
    shape = stored_shape(components, options.side)
    readings = list(time_inputs(components, shape, device, options.repeats))
    model = getattr(components.model.settings, "architecture", components.model.name)
    batch = f"{components.config.clients.batch_size} images of {' x '.join(map(str, shape))}"
    yardstick = "a pass of such a batch through the model and back"
    return Report(f"inputs of {model}, {batch}, on the {device.type}", "steps", yardstick, conditions, readings)


def measure_peers(options: argparse.Namespace, conditions: Conditions) -> Report:
    """Whole commands that do the same work: a plain PyTorch loop, ByzFL, Flower's simulation, fedsim."""
    return _contest("whole commands", "plain loops", RUNS, prepare_run, options, conditions)


def measure_grids(options: argparse.Namespace, conditions: Conditions) -> Report:
    """Nine cells, two at a time: ByzFL's run_benchmark and a sweep of fedsim."""
    return _contest("a grid of nine cells, two at a time", "ByzFL grids", GRIDS, prepare_grid, options, conditions)


def _contest(
    what: str,
    unit: str,
    contestants: Sequence[Contestant],
    prepare: Prepare,
    options: argparse.Namespace,
    conditions: Conditions,
) -> Report:
    task = Task(rounds=options.rounds)
    chosen = [one for one in contestants if one.name in options.only]
    readings = hold(chosen, task, prepare, options.repeats)
    title = f"{what}: {task.rounds} rounds of {task.clients} clients, MNIST-5k, small_cnn"
    yardstick = f"the whole command of {chosen[0].name}, start-up included"
    notes = [
        f"Each client takes {task.steps} steps in a round, batches of {task.batch_size}, SGD, one thread; "
        f"trimmed mean; evaluated on 1000 images after every round.",
        *(one.in_words for one in chosen),
    ]
    return Report(title, unit, yardstick, conditions, readings, notes=notes)


def _needs_ranks(count: int, conditions: Conditions) -> None:
    """Start this very command under torchrun, unless that is where it runs."""
    if "WORLD_SIZE" not in os.environ and count > 1:
        ranks = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        note_for_ranks(conditions.machine)
        os.execv(sys.executable, [sys.executable, *ranks, "-m", "fedsim.benchmark", *sys.argv[1:]])
