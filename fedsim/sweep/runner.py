"""Runs cells on this machine, some at a time, each in processes of its own."""

import os
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep

from fedsim.failures.handler import EXIT_STATUS
from fedsim.files import as_typed, open_file, open_unlinked
from fedsim.machine import gpu_name
from fedsim.records.logs import write_line
from fedsim.run_directory.directory import write_yaml
from fedsim.run_directory.lock import InUseError, RunLock, hold
from fedsim.standard_streams import ERROR
from fedsim.stop_request import StopRequest
from fedsim.sweep.cells import Progress, claim_on, note_failure, progress_of
from fedsim.sweep.plan import Cell, Sweep
from fedsim.sweep.processes import LOST, CellProcess, ForkedCell, StartCell, start_command

GRACE = 60.0
"""Seconds that cells have to write a checkpoint when the sweep is stopped."""


LOOK_AGAIN = 1.0
"""Seconds after which a cell that others run is looked at again."""

IN_USE = " is in use by "
"""What a run says that finds another one in its directory."""

ON_THIS_HOST = ("--standalone", "--local-addr=127.0.0.1")
"""torchrun's options: its host's name need not be known."""


@dataclass(frozen=True)
class Slots:
    """What this machine has for cells.

    Attributes:
        jobs: cells at a time.
        ranks: of each.
        gpus: of the machine; 0: cells run on cores.
    """

    jobs: int
    ranks: int
    gpus: int = 0

    def devices(self, job: int) -> str | None:
        """The GPUs of one of the jobs, as CUDA_VISIBLE_DEVICES takes them: each once, else torch sees none at all."""
        if not self.gpus:
            return None
        numbers = dict.fromkeys((job * self.ranks + rank) % self.gpus for rank in range(self.ranks))
        return ",".join(gpu_name(number) for number in numbers)


def slots_for(cells: int, clients: int, jobs: int | None, ranks: int | None, gpus: int, cores: int) -> Slots:
    """As few ranks per cell as fill the machine: starting a rank costs more than a small cell takes.

    >>> slots_for(cells=100, clients=8, jobs=None, ranks=None, gpus=0, cores=16)
    Slots(jobs=16, ranks=1, gpus=0)
    >>> slots_for(cells=2, clients=8, jobs=None, ranks=None, gpus=8, cores=64)
    Slots(jobs=2, ranks=4, gpus=8)
    """
    units = gpus or cores
    if ranks is None:
        share = units // min(cells, jobs or units) if cells else 1
        ranks = max(1, min(clients, share))
    return Slots(jobs or max(1, units // ranks), ranks, gpus)


@dataclass
class _Job:
    """A cell that is running; its log had so many bytes before."""

    cell: Cell
    place: int
    process: CellProcess
    claim: RunLock
    log_start: int


class Runner:
    """Runs cells until all have ended or it is asked to stop. Those that others run are waited for.

    Args:
        states: of cells that are run; one that another sweep has brought into another state is left as it is.
        report: is given every cell that has ended, or that others run, and how many of the cells have ended.
        start: how the process of a cell is started; where that fails, cells are commands from then on.
    """

    def __init__(
        self,
        sweep: Sweep,
        slots: Slots,
        plugins: Sequence[Path],
        states: Collection[str],
        report: Callable[[Progress, int], None],
        start: StartCell = start_command,
    ) -> None:
        self._sweep, self._slots, self._plugins, self._states, self._report = sweep, slots, plugins, states, report
        self._start_process = start
        self._waiting: deque[Cell] = deque()
        self._running: list[_Job] = []
        self._look_again: dict[str, float] = {}
        """When cells that others run are looked at the next time."""
        self._ended = 0

    def run(self, cells: Sequence[Cell]) -> bool:
        """Run the cells; whether all have ended (or it was asked to stop)."""
        stop = StopRequest()
        self._waiting.extend(cells)
        with stop.listening():
            try:
                while (self._waiting or self._running) and not stop.received:
                    for place in self._free_places():
                        self._start_one(place)
                    self._collect()
                    sleep(0.05)
            finally:
                self._stop_all()
        return not stop.received

    def _free_places(self) -> Iterator[int]:
        taken = {job.place for job in self._running}
        return (place for place in range(self._slots.jobs) if place not in taken)

    def _start_one(self, place: int) -> None:
        """Start the first cell that nobody else runs."""
        for cell in list(self._waiting):
            if monotonic() < self._look_again.get(cell.config_hash, 0.0):
                continue
            progress = progress_of(cell, self._sweep.folder)
            if progress.state == "running":
                self._wait_for(progress)
            elif progress.state not in self._states:  # another sweep has run it meanwhile
                self._waiting.remove(cell)
                self._has_ended(progress)
            elif (claim := self._claim(cell)) is not None:
                self._waiting.remove(cell)
                self._running.append(self._start(cell, place, claim))
                return

    def _wait_for(self, progress: Progress) -> None:
        if progress.cell.config_hash not in self._look_again:
            self._report(progress, self._ended)
        self._look_again[progress.cell.config_hash] = monotonic() + LOOK_AGAIN

    def _has_ended(self, progress: Progress) -> None:
        self._ended += 1
        self._report(progress, self._ended)

    def _claim(self, cell: Cell) -> RunLock | None:
        """Keep other sweeps from a cell; None if one has been faster."""
        path = claim_on(cell, self._sweep.folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return hold(path)
        except InUseError:
            return None

    def _start(self, cell: Cell, place: int, claim: RunLock) -> _Job:
        note_failure(cell, self._sweep.folder, "")
        environment = dict(os.environ)
        devices = self._slots.devices(place)
        if devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices
        words = command(self._sweep, cell, self._slots.ranks, self._plugins)
        with os.fdopen(open_unlinked(_log(self._sweep, cell), os.O_WRONLY | os.O_APPEND), "ab") as log:
            start, descriptors = log.tell(), (log.fileno(), claim.file.fileno())
            try:
                process = self._start_process(words, environment, *descriptors)
            except (OSError, EOFError) as error:
                if self._start_process is start_command:
                    raise
                self._fork_no_more(f"{type(error).__name__}: {error}")
                process = start_command(words, environment, *descriptors)
        return _Job(cell, place, process, claim, start)

    def _fork_no_more(self, why: str) -> None:
        if self._start_process is not start_command:
            write_line(ERROR, f"warning: no cell can be forked ({why}): from now on each starts as a command")
            self._start_process = start_command

    def _collect(self) -> None:
        """Take note of the cells that have ended."""
        for job in list(self._running):
            status = job.process.poll()
            if status is None:
                continue
            self._running.remove(job)
            job.claim.release()
            if isinstance(job.process, ForkedCell) and status == LOST:
                self._fork_no_more("their server was killed")
                self._waiting.append(job.cell)  # it stops, and is then resumed
                continue
            words = _said(_log(self._sweep, job.cell), job.log_start)
            failed = status not in EXIT_STATUS.values()
            progress = progress_of(job.cell, self._sweep.folder)
            if failed and any(IN_USE in line for line in words):  # a run that no sweep has started was faster
                self._waiting.append(job.cell)
                self._wait_for(replace(progress, state="running"))
                continue
            if failed and progress.state not in ("done", "diverged", "failed"):
                # its run has not noted why, and torchrun's own status says nothing
                how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
                note_failure(job.cell, self._sweep.folder, words[-1] if words and status > 0 else how)
                progress = progress_of(job.cell, self._sweep.folder)
            self._has_ended(progress)

    def _stop_all(self) -> None:
        for job in self._running:
            job.process.terminate()
        until = monotonic() + GRACE
        while any(job.process.poll() is None for job in self._running) and monotonic() < until:
            sleep(0.05)
        for job in self._running:
            if job.process.poll() is None:
                job.process.kill()
                job.process.wait()
            job.claim.release()
        self._running.clear()


def command(sweep: Sweep, cell: Cell, ranks: int, plugins: Sequence[Path]) -> list[str]:
    """What is typed to run a cell; its config is written beside the sweep's records."""
    more = plugin_words(sweep, plugins)
    launcher = ["-m", "torch.distributed.run", *ON_THIS_HOST, f"--nproc_per_node={ranks}"] if ranks > 1 else []
    config = as_typed(keep_config(sweep, cell))
    return [sys.executable, *launcher, "-m", "fedsim", "--config", config, "--resume-or-start", *more]


def plugin_words(sweep: Sweep, plugins: Sequence[Path]) -> list[str]:
    """The options by which a cell has the plugins with which its sweep was planned."""
    words = [word for plugin in plugins for word in ("--plugin", as_typed(plugin))]
    return [*words, *(["--plugin-digest", sweep.plugins] if words else [])]


def keep_config(sweep: Sweep, cell: Cell) -> Path:
    """The file with the cell's configuration."""
    path = sweep.folder / "cells" / f"{cell.config_hash}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_yaml(path, cell.config)
    return path


def _log(sweep: Sweep, cell: Cell) -> Path:
    return sweep.folder / "cells" / f"{cell.config_hash}.log"


def _said(log: Path, start: int) -> list[str]:
    """fedsim's last lines in a log, none of those before ``start``."""
    with open_file(log) as file:
        file.seek(max(start, log.stat().st_size - 20_000))
        lines = file.read().decode(errors="replace").splitlines()
    return [line.removeprefix("fedsim: ") for line in lines if line.startswith("fedsim: ")]
