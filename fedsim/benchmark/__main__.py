"""``python -m fedsim.benchmark KIND``, the kinds being in ``--help``; ``--help`` after a kind says more of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import torch

from fedsim.systems import require_posix

require_posix()

from fedsim.standard_streams import keep_standard_streams

if __name__ == "__main__":
    keep_standard_streams()  # before a file is opened

from fedsim.aggregators import available_aggregators
from fedsim.attacks import available_attacks
from fedsim.benchmark import commands
from fedsim.benchmark.local_step import RowPlace
from fedsim.benchmark.machine import Conditions, machine
from fedsim.benchmark.peers.contestants import GRIDS, RUNS, Contestant
from fedsim.benchmark.report import Report
from fedsim.benchmark.scaling import AGGREGATORS as SCALED
from fedsim.errors import ConfigError
from fedsim.files import user_path
from fedsim.machine import why_no_gpu
from fedsim.models import models
from fedsim.parsers import Parser
from fedsim.plugins import load_plugins
from fedsim.updates.heap import keep_freed_memory

RESNET18 = 11_173_962
"""Parameters of a ResNet-18 with ten classes."""


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 done, 1 if the table was lost, as on a full disk, 2 a mistake on the command line."""
    try:
        load_plugins(_plugins(arguments))  # first: what is in them may be chosen
    except ConfigError as error:
        sys.stderr.write(f"fedsim: configuration error: {error}\n")
        return 2
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    try:
        if options.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("--device", f"'cuda' is wanted but no GPU is visible ({why_no_gpu()})", "use cpu")
        for option in ("config", "json", "png"):
            if getattr(options, option, None) is not None:
                setattr(options, option, user_path(getattr(options, option), f"--{option}"))
        _require_writable(options.json, options.png)  # before it is measured, which takes long
        report = options.run(options, Conditions(f"python -m fedsim.benchmark {' '.join(arguments)}", machine()))
    except ConfigError as error:
        sys.stderr.write(f"fedsim: configuration error: {error}\n")
        return 2
    return 0 if report is None else report.publish(options.json, options.png)


def _require_writable(json: Path | None, png: Path | None) -> None:
    for option, path in (("--json", json), ("--png", png)):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(option, f"there is no folder {path.parent}", "make it, or name another")
    if png is not None and png.suffix.lower() != ".png":
        raise ConfigError("--png", f"{png} does not end in .png", "call it so")


def _plugins(arguments: Sequence[str]) -> list[str]:
    parser = Parser(add_help=False, allow_abbrev=False)
    _add_plugin(parser)
    words: list[str] = parser.parse_known_args(arguments)[0].plugin
    return words


def _add_plugin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="components of yours")


def _parser() -> Parser:
    parser = Parser(prog="python -m fedsim.benchmark", description=__doc__)
    kinds = parser.add_subparsers(required=True, metavar="KIND")

    def start(name: str, run: Callable[..., Report | None], repeats: int, threads: int) -> Parser:
        summary = (run.__doc__ or "").rstrip(".")
        kind = kinds.add_parser(name, help=summary, description=summary)
        kind.set_defaults(run=run)
        kind.add_argument("--threads", type=_positive, default=threads, help=f"CPU threads (default {threads})")
        kind.add_argument("--repeats", type=_positive, default=repeats, help=f"the median counts (default {repeats})")
        _add_plugin(kind)
        kind.add_argument("--json", metavar="FILE", help="write the readings")
        kind.add_argument("--png", metavar="FILE", help="draw the readings")
        return kind

    def add(name: str, run: Callable[..., Report | None], clients: int) -> Parser:
        kind = start(name, run, repeats=7, threads=2)
        kind.add_argument("--clients", type=_positive, default=clients, metavar="K", help=f"default {clients}")
        kind.add_argument("--columns", type=_positive, default=RESNET18, metavar="D", help=f"default {RESNET18}")
        kind.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
        return kind

    kind = add("aggregators", commands.measure_aggregators, 10)
    kind.add_argument("--names", nargs="+", choices=available_aggregators(), default=available_aggregators())
    _add_compile_kernels(kind)
    kind = add("attacks", commands.measure_attacks, 10)
    kind.add_argument("--names", nargs="+", choices=available_attacks(), default=available_attacks())
    kind.add_argument("--byzantine", type=_positive, default=3, metavar="B", help="default 3")
    kind.add_argument("--aggregator", choices=available_aggregators(), default="cwtm", help="what attacks probe")
    _add_compile_kernels(kind)
    add("passes", commands.measure_passes, 10)
    add("gather", commands.measure_gather, 5)
    add("broadcast", commands.measure_broadcast, 5)
    kind = add("sharded", commands.measure_sharded, 10)
    kind.add_argument("--names", nargs="+", choices=available_aggregators(), default=available_aggregators())
    kind = add("round", commands.measure_round, 8)
    _add_config(kind)
    kind = add("step", commands.measure_step, 1)
    kind.add_argument("--side", type=_positive, help="pixels per side (default: as the config's model sees them)")
    kind.add_argument("--steps", type=_positive, default=1, help="of the client, none waited for (default 1)")
    kind.add_argument("--parts", action="store_true", help="time data, forward and backward, optimiser and row apart")
    kind.add_argument("--row", choices=get_args(RowPlace), default="device", help="where the row goes")
    _add_config(kind)
    kind = add("vectorize", commands.measure_vectorize, 64)
    kind.add_argument("--models", nargs="+", choices=list(models.describe()), default=["small_cnn", "mlp"])
    kind.add_argument("--at-once", nargs="+", type=_positive, default=[1, 4, 16, 64], metavar="N")
    _add_config(kind)
    kind = add("inputs", commands.measure_inputs, 1)
    kind.add_argument("--side", type=_positive, help="pixels per side of stored images (default: data.resize, or 32)")
    _add_config(kind)
    kind = start("scaling", commands.measure_scaling, repeats=3, threads=1)
    kind.add_argument("--clients", nargs="+", type=_positive, default=[100, 300, 1000], metavar="K")
    kind.add_argument("--ranks", type=_positive, default=1, metavar="W", help="default 1")
    kind.add_argument("--names", nargs="+", choices=available_aggregators(), default=SCALED)
    kind.set_defaults(device="cpu")
    kind.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="settings of every round")
    _add_contest(start("peers", commands.measure_peers, repeats=3, threads=1), RUNS, rounds=20)
    _add_contest(start("grids", commands.measure_grids, repeats=1, threads=1), GRIDS, rounds=10)
    return parser


def _add_compile_kernels(kind: Parser) -> None:
    kind.add_argument("--compile-kernels", action="store_true", help="compile column maps (runtime.compile_kernels)")


def _add_contest(kind: Parser, contestants: Sequence[Contestant], rounds: int) -> None:
    kind.set_defaults(device="cpu")
    names = [one.name for one in contestants]
    kind.add_argument("--rounds", type=_positive, default=rounds, help=f"default {rounds}")
    kind.add_argument("--only", nargs="+", choices=names, default=names, help="the first one is the yardstick")


def _add_config(kind: Parser) -> None:
    kind.add_argument("--config", help="default: the quickstart")
    kind.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="settings that replace the file's")


def _positive(text: str) -> int:
    number = int(text.replace("_", ""))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
