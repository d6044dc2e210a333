"""Hours of one run with two ranks, watched from outside: ``PYTHONPATH=tests python -m fuzz.soak --hours 2``.

Every ten seconds memory, descriptors, threads and shared memory of each process are noted, and the sizes of the files
in the run's directory. At the end the run is stopped by SIGTERM, and the table says what stayed flat.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from fedsim.records.console import print_text
from fuzz.soak_report import HOUR, Sample, table
from support.launch import MAIN, clean_environment

SETTINGS = [
    "rounds=200000",  # more than are reached
    "data.name=mnist5k",
    "clients.count=6",
    "clients.fraction=0.7",
    "clients.local_steps=2",
    "clients.momentum=0.5",
    "attack={name: mimic, num_byzantine: 1}",
    "aggregator={name: fedseca, momentum: 0.5}",
    "evaluation.every=10",
    "checkpoint.every=5",
    "tracking.images_every=50",
    "run_name=soak",
]


def start(ranks: int, folder: Path) -> subprocess.Popen[bytes]:
    """The run, with what it prints in a file beside its directory."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    with (folder / "terminal.txt").open("wb") as terminal:
        return subprocess.Popen(
            [*launcher, str(MAIN), *SETTINGS, f"output_dir={folder}"],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
        )


class Watch:
    """Takes samples of one launch and its run directory."""

    def __init__(self, launch: psutil.Process, directory: Path) -> None:
        self._launch, self._directory = launch, directory
        self._started, self._read, self._rounds = time.monotonic(), 0, 0

    def sample(self) -> dict[str, float]:
        """Every figure now."""
        figures: dict[str, float] = {"seconds": time.monotonic() - self._started, "rounds": self._count_rounds()}
        for name, process in self._processes():
            try:
                figures |= {f"{name} {what}": value for what, value in of_process(process).items()}
            except (psutil.NoSuchProcess, OSError):  # it has just ended
                continue
        names = [name for name in os.listdir("/dev/shm") if name.startswith("fedsim")]
        return {**figures, **sizes(self._directory), "names in /dev/shm": len(names)}

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        yield "torchrun", self._launch
        for child in self._launch.children():
            rank = child.environ().get("RANK")
            if rank is not None:
                yield f"rank {rank}", child

    def _count_rounds(self) -> int:
        """Lines of ``metrics.jsonl``; only what is new is read."""
        path = self._directory / "metrics.jsonl"
        if path.exists():
            with path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            self._read += len(new)
            self._rounds += new.count(b"\n")
        return self._rounds


def of_process(process: psutil.Process) -> dict[str, float]:
    """Resident and shared memory in MB, descriptors and threads."""
    memory = process.memory_info()
    return {
        "memory": memory.rss / 1e6,
        "shared": memory.shared / 1e6,
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
    }


def sizes(directory: Path) -> dict[str, float]:
    """Bytes and number of the files in a run's directory, by kind."""
    found: Counter[str] = Counter()
    for path in directory.rglob("*"):
        try:
            size = path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # an old checkpoint
            continue
        found[f"bytes of {kind(path.relative_to(directory))}"] += size
        found["number of files"] += 1
    return {name: float(value) for name, value in found.items()}


def kind(path: Path) -> str:
    """What a file of a run's directory is.

    >>> kind(Path("honest/events.out.tfevents.1")), kind(Path("checkpoints/round_000005.safetensors"))
    ('TensorBoard', 'checkpoints')
    """
    if path.name.startswith("events.out"):
        return "TensorBoard"
    if path.name in ("metrics.jsonl", "metrics.backup"):
        return path.name
    return path.parts[0] if path.parts[0] in ("checkpoints", "logs") else "other files"


def soak(hours: float, ranks: int, every: float, folder: Path) -> list[Sample]:
    """Let the run go on for some time; its samples also go to ``samples.jsonl``, for the case that this is killed."""
    process = start(ranks, folder)
    watch, samples = Watch(psutil.Process(process.pid), folder / "soak"), []
    deadline = time.monotonic() + hours * HOUR
    with (folder / "samples.jsonl").open("w") as file:
        while time.monotonic() < deadline:
            time.sleep(every)
            if process.poll() is not None:
                raise SystemExit(f"the run has ended by itself with status {process.returncode}: see {folder}")
            samples.append(watch.sample())
            file.write(f"{json.dumps(samples[-1])}\n")
            file.flush()
    process.send_signal(signal.SIGTERM)
    process.wait(120)
    return [sample for sample in samples if sample["rounds"] > 0]


def main() -> int:
    """Run, or report on samples of an earlier run."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.soak")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between samples")
    parser.add_argument("--folder", type=Path, help="where the run is recorded; a temporary folder if not given")
    parser.add_argument("--report", type=Path, help="a samples.jsonl to report on, instead of a run")
    given = parser.parse_args()
    if given.report:
        samples = [json.loads(line) for line in given.report.read_text().splitlines()]
        return print_text(table([sample for sample in samples if sample["rounds"] > 0]))
    folder = given.folder or Path(tempfile.mkdtemp(prefix="fedsim-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    print_text(f"the run is recorded in {folder}")
    text = table(soak(given.hours, given.ranks, given.every, folder))
    ended = json.loads((folder / "soak" / "summary.json").read_text())["status"]
    print_text(f"{text}\nstopped by SIGTERM, status: {ended}")
    return 0 if text.endswith("flat") and ended == "interrupted" else 1


if __name__ == "__main__":
    raise SystemExit(main())
