"""Runs cells on this machine, some at a time, each in processes of its own."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from fedsim.failures.handler import EXIT_STATUS
from fedsim.files import as_typed
from fedsim.machine import gpu_name
from fedsim.run_directory.directory import write_yaml
from fedsim.stop_request import FOLLOW_LAUNCHER, StopRequest
from fedsim.sweep.cells import Progress, note_failure, progress_of
from fedsim.sweep.plan import Cell, Sweep

GRACE = 60.0
"""Seconds that cells have to write a checkpoint when the sweep is stopped."""


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
        """The GPUs of one of the jobs, as CUDA_VISIBLE_DEVICES takes them."""
        if not self.gpus:
            return None
        return ",".join(gpu_name((job * self.ranks + rank) % self.gpus) for rank in range(self.ranks))


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
    """A cell that is running."""

    cell: Cell
    place: int
    process: "subprocess.Popen[bytes]"
    started: float = field(default_factory=monotonic)


class Runner:
    """Runs cells until all have ended or it is asked to stop.

    Args:
        report: is given every cell that has ended, and how many of ``cells`` have.
    """

    def __init__(
        self, sweep: Sweep, slots: Slots, plugins: Sequence[Path], report: Callable[[Progress, int], None]
    ) -> None:
        self._sweep, self._slots, self._plugins, self._report = sweep, slots, plugins, report
        self._running: list[_Job] = []
        self._ended = 0

    def run(self, cells: Sequence[Cell]) -> bool:
        """Run the cells; whether all have ended (or it was asked to stop)."""
        stop, waiting = StopRequest(), deque(cells)
        with stop.listening():
            try:
                while (waiting or self._running) and not stop.received:
                    for place in self._free_places():
                        if waiting:
                            self._running.append(self._start(waiting.popleft(), place))
                    self._collect()
                    sleep(0.05)
            finally:
                self._stop_all()
        return not stop.received

    def _free_places(self) -> Iterator[int]:
        taken = {job.place for job in self._running}
        return (place for place in range(self._slots.jobs) if place not in taken)

    def _start(self, cell: Cell, place: int) -> _Job:
        note_failure(cell, self._sweep.folder, "")
        environment = {**os.environ, FOLLOW_LAUNCHER: "1", "OMP_NUM_THREADS": "1"}
        devices = self._slots.devices(place)
        if devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices
        with _log(self._sweep, cell).open("ab") as log:
            # A session of its own: Ctrl-C comes to this process, which then stops the cells in order.
            process = subprocess.Popen(
                command(self._sweep, cell, self._slots.ranks, self._plugins),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        return _Job(cell, place, process)

    def _collect(self) -> None:
        """Take note of the cells that have ended."""
        for job in list(self._running):
            status = job.process.poll()
            if status is None:
                continue
            self._running.remove(job)
            self._ended += 1
            if status not in EXIT_STATUS.values():
                self._note(job, status)
            self._report(progress_of(job.cell, self._sweep.folder), self._ended)

    def _note(self, job: _Job, status: int) -> None:
        """Why a cell failed, unless its run has noted that (torchrun's own status says nothing)."""
        known = progress_of(job.cell, self._sweep.folder)
        if known.state in ("done", "diverged", "failed"):
            return
        words = [line for line in _tail(_log(self._sweep, job.cell)) if line.startswith("fedsim: ")]
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        said = words[-1].removeprefix("fedsim: ") if words and status > 0 else how
        note_failure(job.cell, self._sweep.folder, said)

    def _stop_all(self) -> None:
        for job in self._running:
            job.process.terminate()
        until = monotonic() + GRACE
        for job in self._running:
            try:
                job.process.wait(max(0.0, until - monotonic()))
            except subprocess.TimeoutExpired:
                job.process.kill()
                job.process.wait()
        self._running.clear()


def command(sweep: Sweep, cell: Cell, ranks: int, plugins: Sequence[Path]) -> list[str]:
    """What is typed to run a cell; its config is written beside the sweep's records."""
    more = [word for plugin in plugins for word in ("--plugin", as_typed(plugin))]
    launcher = ["-m", "torch.distributed.run", *ON_THIS_HOST, f"--nproc_per_node={ranks}"] if ranks > 1 else []
    config = as_typed(keep_config(sweep, cell))
    return [sys.executable, *launcher, "-m", "fedsim", "--config", config, "--resume-or-start", *more]


def keep_config(sweep: Sweep, cell: Cell) -> Path:
    """The file with the cell's configuration."""
    path = sweep.folder / "cells" / f"{cell.config_hash}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_yaml(path, cell.config)
    return path


def _log(sweep: Sweep, cell: Cell) -> Path:
    return sweep.folder / "cells" / f"{cell.config_hash}.log"


def _tail(path: Path) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 20_000))
        return file.read().decode(errors="replace").splitlines()
