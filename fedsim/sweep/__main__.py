"""Run the cells of a sweep: ``python -m fedsim.sweep FILE``; see ``--help``."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from time import monotonic, sleep

from fedsim.systems import require_posix

require_posix()

from fedsim.standard_streams import keep_standard_streams

if __name__ == "__main__":
    keep_standard_streams()  # before a file is opened

from fedsim.comm.launchers import refuse_copies
from fedsim.errors import ConfigError, counted, escaped
from fedsim.files import user_path, write_for_nobody_else
from fedsim.machine import count_cores, count_gpus
from fedsim.parsers import Parser
from fedsim.plugins import load_plugins
from fedsim.records.console import print_text
from fedsim.run_directory.lock import InUseError, hold
from fedsim.sweep.array import array_jobs
from fedsim.sweep.cells import Progress, progress_of
from fedsim.sweep.earlier import earlier_lines
from fedsim.sweep.parts import with_other_parts
from fedsim.sweep.plan import Cell, Sweep, read_sweep
from fedsim.sweep.processes import end_server, fork, start_command, why_no_fork
from fedsim.sweep.runner import Runner, Slots, command, slots_for
from fedsim.sweep.settings_lines import settings_lines
from fedsim.sweep.submitted import with_queue
from fedsim.sweep.tables import in_words, keep_results, markdown, seconds_left, status_lines

NOT_ALL_DONE, MISTAKE, STOPPED = 1, 2, 75


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 every cell is done, 1 some failed or diverged, 2 a mistake, 75 stopped by a signal.

    Where output is all that is asked for, 1 says that it was lost, as on a full disk.
    """
    options = _parser().parse_intermixed_args(arguments)
    write_for_nobody_else()
    try:
        refuse_copies()
        plugins = load_plugins(options.plugin)
        options.plugin = [plugin.path for plugin in plugins]
        computes = not (options.dry_run or options.status or options.watch)
        file = user_path(options.file, "FILE")
        with _memory_elsewhere() if options.slurm else nullcontext():
            sweep = read_sweep(file, options.overrides, options.only, plugins, require_data=computes)
        whole = partial(read_sweep, file, options.overrides, (), plugins, require_data=False)
        return _carry_out(sweep, whole if options.only else lambda: sweep, options)
    except ConfigError as error:
        sys.stderr.write(f"fedsim: configuration error: {error}\n")
        return MISTAKE
    except OSError as error:
        where = escaped(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        sys.stderr.write(f"fedsim: the sweep cannot go on: {where}\n")
        return MISTAKE


@contextmanager
def _memory_elsewhere() -> Iterator[None]:
    """This may be a login node, with less memory than those of the jobs: how much they have is not asked here."""
    if "FEDSIM_MEMORY_GB" in os.environ:
        yield
        return
    os.environ["FEDSIM_MEMORY_GB"] = "inf"
    try:
        yield
    finally:
        del os.environ["FEDSIM_MEMORY_GB"]  # jobs, which inherit the environment, ask their own machine


def _carry_out(sweep: Sweep, whole: Callable[[], Sweep], options: argparse.Namespace) -> int:
    if options.status or options.watch:
        return _show_status(sweep, whole, options.watch)
    if options.slurm and not options.dry_run:
        return _submit(sweep, options)
    cells = _all(sweep)
    elsewhere = [one for one in cells if one.state == "running"]
    states = _to_run(options.retry)
    todo = [one.cell for one in cells if one.state in states]
    for text, count in sweep.warned.items():
        of = "" if count == len(sweep.cells) else f" ({count} of {counted(len(sweep.cells), 'cell')})"
        sys.stderr.write(f"fedsim: warning: {text}{of}\n")
    if options.dry_run:
        return _dry_run(sweep, todo, _slots(todo, options), options)
    todo += [one.cell for one in elsewhere]
    slots = _slots(todo, options)
    _say_what_is_queued(cells)
    for line in earlier_lines(one.earlier for one in cells):
        print_text(line)
    at_a_time = min(slots.jobs, len(todo))
    where = f"{at_a_time} at a time on {counted(slots.ranks, 'rank')}"
    in_use = f"{len(elsewhere)} of them in use by others; " if elsewhere else ""
    skipped = len(cells) - len(todo)
    print_text(f"{sweep.name}: {counted(len(todo), 'cell')} to run, {where}; {in_use}{skipped} skipped")
    why = why_no_fork(slots.ranks)
    if why and len(todo) > 1:
        print_text(f"each cell starts as a command of its own, which takes seconds: {why}")
    start = start_command if why else fork
    begun = monotonic()

    def report(progress: Progress, ended: int) -> None:
        if progress.state == "running":
            print_text(f"{progress.cell}: in use by {progress.holder or 'another process'}, and waited for")
            return
        left = (len(todo) - ended) * (monotonic() - begun) / ended  # a continued cell takes less than its run took
        time_left = f"; about {in_words(left)} left" if left else ""
        print_text(f"[{ended}/{len(todo)}] {progress.state}: {progress.cell}: {progress.remark}{time_left}")

    try:
        all_ended = Runner(sweep, slots, options.plugin, states, report, start).run(todo)
    finally:
        end_server()
    cells = _all(sweep)
    keep_results(*with_other_parts(sweep, cells, whole))
    print_text(f"\n{markdown(sweep, cells)}\n")
    print_text(f"all cells: {sweep.folder / 'results.csv'}\nlook at them: tensorboard --logdir {sweep.folder}")
    if not all_ended:
        print_text("stopped by a signal, nothing is lost: the same command goes on")
        return STOPPED
    return 0 if all(one.state == "done" for one in cells) else NOT_ALL_DONE


def _all(sweep: Sweep) -> list[Progress]:
    cells = [progress_of(cell, sweep.folder) for cell in sweep.cells]
    try:
        return with_queue(sweep.folder, cells)
    except ConfigError as error:  # results may be looked at where there is no SLURM
        sys.stderr.write(f"fedsim: warning: {error}\n")
        return cells


def _say_what_is_queued(cells: Sequence[Progress]) -> None:
    queued = [one for one in cells if one.state == "queued"]
    if queued:
        jobs = sorted({one.job for one in queued})
        what = f"{counted(len(queued), 'cell')} in SLURM's queue (job {', '.join(jobs)})"
        print_text(f"{what}: skipped here; `scancel {' '.join(jobs)}` takes them out")


def _to_run(retry: str | None) -> tuple[str, ...]:
    return ("pending", "stopped", *([retry] if retry else []))


def _slots(cells: Sequence[Cell], options: argparse.Namespace) -> Slots:
    clients = max((cell.num_clients for cell in cells), default=1)
    on_cpu = bool(cells) and all(cell.config["runtime"]["device"] == "cpu" for cell in cells)
    gpus = 0 if on_cpu else count_gpus()
    return slots_for(len(cells), clients, options.jobs, options.ranks, gpus, count_cores())


def _submit(sweep: Sweep, options: argparse.Namespace) -> int:
    """Submit the cells that nobody runs and that are not in the queue, one command at a time."""
    lock = sweep.folder / "cells" / "submission.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = hold(lock)
    except InUseError as error:
        problem = f"{error.strerror} is submitting cells of this sweep"
        raise ConfigError("--slurm", problem, "try again when it has ended") from None
    try:
        cells = with_queue(sweep.folder, [progress_of(cell, sweep.folder) for cell in sweep.cells])
        _say_what_is_queued(cells)
        todo = [one.cell for one in cells if one.state in _to_run(options.retry)]
        for job in array_jobs(sweep, todo, options.throttle, options.sbatch, options.plugin):
            print_text(f"array job {job.submit()} of {counted(job.num_cells, 'cell')} is submitted; see --status")
    finally:
        held.release()
    return 0 if todo else print_text("nothing to submit: every cell has ended, is running or in the queue")


def _dry_run(sweep: Sweep, cells: Sequence[Cell], slots: Slots, options: argparse.Namespace) -> int:
    """Nothing but the cells' config files is written; missing data are only warned of."""
    for missing in sweep.missing_data:
        sys.stderr.write(f"fedsim: warning: {missing}\n")
    if options.slurm and cells:
        jobs = array_jobs(sweep, cells, options.throttle, options.sbatch, options.plugin)
        return print_text("\n".join(" ".join(job.command) for job in jobs))
    for line in settings_lines(cells):
        print_text(line)
    for cell in cells:
        print_text(f"{cell}\n  {' '.join(command(sweep, cell, slots.ranks, options.plugin))}")
    ranks = f"{counted(slots.ranks, 'rank')}{' each' * (slots.jobs > 1)}"
    return print_text(f"{counted(len(cells), 'cell')} to run, {slots.jobs} at a time on {ranks}")


def _show_status(sweep: Sweep, whole: Callable[[], Sweep], every: float | None) -> int:
    while True:
        cells = _all(sweep)
        jobs = sum(one.state == "running" for one in cells)
        lines = list(status_lines(cells, seconds_left(cells, jobs) if jobs else None))
        clear = "\033[2J\033[H" if every and sys.stdout.isatty() else ""
        print_text(clear + "\n".join(lines))
        if not every or all(one.state in ("done", "failed", "diverged") for one in cells):
            keep_results(*with_other_parts(sweep, cells, whole))
            return print_text(f"\n{markdown(sweep, cells)}")
        sleep(every)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def _parser() -> Parser:
    parser = Parser(prog="python -m fedsim.sweep", description=__doc__)
    parser.add_argument("file", help="the sweep's YAML (configs/sweeps/)")
    parser.add_argument("overrides", nargs="*", metavar="dotted.key=value", help="settings of every cell")
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=LABEL,LABEL", help="leave out other cells"
    )
    parser.add_argument("--jobs", type=_positive, help="cells at a time (default: what fills the machine)")
    parser.add_argument("--ranks", type=_positive, help="ranks of each (default: as few as fill the machine)")
    parser.add_argument("--retry", choices=("failed", "diverged"), help="run these again as well")
    parser.add_argument("--status", action="store_true", help="say how far the cells are, and stop")
    parser.add_argument(
        "--watch", type=float, metavar="SECONDS", help="the same again and again, until all have ended"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be typed, and stop")
    parser.add_argument("--slurm", action="store_true", help="submit the cells as an array job")
    parser.add_argument("--throttle", type=_positive, help="tasks of the array at a time")
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="option of sbatch, as --sbatch=--time=60"
    )
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help="components of yours")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
