"""``python -m fedsim.benchmark KIND``, the kinds being in ``--help``; ``--help`` after a kind says more of it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import get_args

import torch
from tqdm import tqdm

from fedsim.systems import require_posix

require_posix()

from fedsim.standard_streams import keep_standard_streams

if __name__ == "__main__":
    keep_standard_streams()  # before a file is opened

from fedsim.aggregators import available_aggregators
from fedsim.attacks import available_attacks
from fedsim.benchmark.broadcast import time_broadcast
from fedsim.benchmark.gather import time_gather
from fedsim.benchmark.inputs import stored_shape, time_inputs
from fedsim.benchmark.local_step import RowPlace, StepBenchmark, without_data
from fedsim.benchmark.matrix import MatrixCase, time_aggregators, time_attacks
from fedsim.benchmark.measure import Reading
from fedsim.benchmark.report import Report
from fedsim.benchmark.rounds import time_round
from fedsim.benchmark.vectorized import STEPS_SHOWN, time_vectorized
from fedsim.build.components import build_components
from fedsim.build.process import prepare_process
from fedsim.cli import QUICKSTART
from fedsim.comm import Communicator, RankPlace, open_communicator
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.errors import ConfigError
from fedsim.files import user_path
from fedsim.machine import why_no_gpu
from fedsim.models import models
from fedsim.parsers import Parser
from fedsim.updates.heap import keep_freed_memory

RESNET18 = 11_173_962
"""Parameters of a ResNet-18 with ten classes."""


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 if the table was lost, as on a full disk, 2 a mistake on the command line."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    try:
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("--device", f"'cuda' is wanted but no GPU is visible ({why_no_gpu()})", "use cpu")
        for option in ("config", "json", "png"):
            if getattr(options, option, None) is not None:
                setattr(options, option, user_path(getattr(options, option), f"--{option}"))
        report = options.run(options, f"python -m fedsim.benchmark {' '.join(arguments)}")
    except ConfigError as error:
        sys.stderr.write(f"fedsim: configuration error: {error}\n")
        return 2
    return 0 if report is None else report.publish(options.json, options.png)


def _parser() -> Parser:
    parser = Parser(prog="python -m fedsim.benchmark", description=__doc__)
    kinds = parser.add_subparsers(required=True, metavar="KIND")

    def add(name: str, run: Callable[..., Report | None], summary: str, clients: int) -> Parser:
        kind = kinds.add_parser(name, help=summary, description=summary)
        kind.set_defaults(run=run)
        kind.add_argument("--clients", type=_positive, default=clients, metavar="K", help=f"default {clients}")
        kind.add_argument("--columns", type=_positive, default=RESNET18, metavar="D", help=f"default {RESNET18}")
        kind.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        kind.add_argument("--threads", type=_positive, default=2, help="CPU threads of each process (default 2)")
        kind.add_argument("--repeats", type=_positive, default=7, help="of which the median counts (default 7)")
        kind.add_argument("--json", metavar="FILE", help="write the readings")
        kind.add_argument("--png", metavar="FILE", help="draw the readings")
        return kind

    kind = add("aggregators", _aggregators, "every aggregator, in copies of the matrix [K, D]", 10)
    kind.add_argument("--names", nargs="+", choices=available_aggregators(), default=available_aggregators())
    kind = add("attacks", _attacks, "every attack, in copies of the honest rows [H, D]", 10)
    kind.add_argument("--names", nargs="+", choices=available_attacks(), default=available_attacks())
    kind.add_argument("--byzantine", type=_positive, default=3, metavar="B", help="default 3")
    kind.add_argument("--aggregator", choices=available_aggregators(), default="cwtm", help="what attacks probe")
    add("gather", _gather, "the gather of K rows from K ranks, in copies of the matrix [K, D]", 5)
    add("broadcast", _broadcast, "the broadcast of a step [D] to K ranks, in copies of the step", 5)
    kind = add("round", _round, "a round of a run, in plain PyTorch loops of the same local steps", 8)
    _add_config(kind)
    kind = add("step", _step, "a local step of a config's model on random images, in plain PyTorch steps", 1)
    kind.add_argument("--side", type=_positive, help="pixels per side (default: as the config's model sees them)")
    kind.add_argument("--steps", type=_positive, default=1, help="of the client, none waited for (default 1)")
    kind.add_argument("--parts", action="store_true", help="time data, forward and backward, optimiser and row apart")
    kind.add_argument("--row", choices=get_args(RowPlace), default="device", help="where the row goes")
    _add_config(kind)
    kind = add("vectorize", _vectorize, "clients that are trained at once, in the time that they take in turn", 64)
    kind.add_argument("--models", nargs="+", choices=list(models.describe()), default=["small_cnn", "mlp"])
    kind.add_argument("--at-once", nargs="+", type=_positive, default=[1, 4, 16, 64], metavar="N")
    _add_config(kind)
    kind = add("inputs", _inputs, "a batch of augmented images, in passes through a config's model and back", 1)
    kind.add_argument("--side", type=_positive, help="pixels per side of stored images (default: data.resize, or 32)")
    _add_config(kind)
    return parser


def _add_config(kind: Parser) -> None:
    kind.add_argument("--config", help="default: the quickstart")
    kind.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="settings that replace the file's")


def _positive(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


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
    return f"K = {options.clients}, D = {options.columns:,}, float32"


def _aggregators(options: argparse.Namespace, command: str) -> Report:
    readings = _with_progress(time_aggregators(_case(options, 0), options.names), len(options.names))
    size = 4 * options.clients * options.columns
    return Report(f"aggregators, {_matrix(options)}", "copies", command, readings, size)


def _attacks(options: argparse.Namespace, command: str) -> Report:
    case = _case(options, options.byzantine)
    readings = _with_progress(time_attacks(case, options.names, options.aggregator), len(options.names))
    size = 4 * (options.clients - options.byzantine) * options.columns
    title = f"attacks by {options.byzantine}, {_matrix(options)}, probing {options.aggregator}"
    return Report(title, "copies", command, readings, size)


def _with_progress(readings: Iterable[Reading], total: int) -> list[Reading]:
    return list(tqdm(readings, total=total, unit="method", disable=not sys.stderr.isatty()))


def _gather(options: argparse.Namespace, command: str) -> Report | None:
    return _between_ranks("gather", time_gather, options, command)


def _broadcast(options: argparse.Namespace, command: str) -> Report | None:
    return _between_ranks("broadcast", time_broadcast, options, command)


def _between_ranks(
    what: str, measured: Callable[[Communicator, int, int], list[Reading]], options: argparse.Namespace, command: str
) -> Report | None:
    _needs_ranks(options.clients)
    place = RankPlace.from_environment()
    comm = open_communicator(place, place.device(options.device), 600)
    readings = measured(comm, options.columns, options.repeats)
    how = f"{comm.size} ranks, {comm.description}, D = {options.columns:,}"
    comm.barrier("end")
    comm.close()
    return Report(f"{what}, {how}", "copies", command, readings) if place.rank == 0 else None


def _round(options: argparse.Namespace, command: str) -> Report | None:
    values, _ = apply_overrides(read_yaml(options.config or QUICKSTART), options.overrides)
    runtime = {**values.get("runtime", {}), "threads": options.threads, "device": options.device}
    components = build_components(parse_config({**values, "runtime": runtime}))
    place = RankPlace.from_environment()
    readings = time_round(components, place, options.repeats)
    title = f"a round of {components.run_name()} on {place.size} ranks"
    return Report(title, "loops", command, readings) if place.rank == 0 else None


def _step(options: argparse.Namespace, command: str) -> Report:
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
    title = f"a local step of {model}, {batch}, row of {4 * parameters / 1e6:.0f} MB, on the {device.type}"
    return Report(title, "plain steps", command, readings, 4 * parameters)


def _vectorize(options: argparse.Namespace, command: str) -> Report:
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
    return Report(title, "in turn", command, readings)


def _inputs(options: argparse.Namespace, command: str) -> Report:
    values, _ = apply_overrides(read_yaml(options.config or QUICKSTART), options.overrides)
    components = build_components(parse_config(values), require_data=False)
    device = RankPlace(0, 1, 0, 1).device(options.device)
    shape = stored_shape(components, options.side)
    readings = list(time_inputs(components, shape, device, options.repeats))
    model = getattr(components.model.settings, "architecture", components.model.name)
    batch = f"{components.config.clients.batch_size} images of {' x '.join(map(str, shape))}"
    return Report(f"inputs of {model}, {batch}, on the {device.type}", "steps", command, readings)


def _needs_ranks(count: int) -> None:
    """Start this very command under torchrun, unless that is where it runs."""
    if "WORLD_SIZE" not in os.environ and count > 1:
        ranks = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        os.execv(sys.executable, [sys.executable, *ranks, "-m", "fedsim.benchmark", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
