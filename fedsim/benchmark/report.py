"""What a benchmark leaves: a table in the terminal, JSON, a picture."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from fedsim.benchmark.measure import Reading
from fedsim.records.console import print_text
from fedsim.run_directory.directory import write_json


@dataclass(frozen=True)
class Report:
    """The readings of one run of a benchmark.

    Attributes:
        title: what was measured, in words.
        unit: what the ratios count, for example copies of the matrix.
        command: what the user typed.
        unit_bytes: memory of one unit, for the extra memory; 0 where it makes no sense.
    """

    title: str
    unit: str
    command: str
    readings: Sequence[Reading]
    unit_bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "unit": self.unit,
            "unit_bytes": self.unit_bytes,
            "command": self.command,
            "machine": machine(),
            "readings": [reading.as_dict() for reading in self.readings],
        }

    def publish(self, json: Path | None, png: Path | None) -> int:
        """Show the table, and write the files that were asked for; exit status as of :func:`print_text`."""
        status = print_text(f"{self.title}\n{machine()['words']}\n\n{table(self)}")
        if json is not None:
            write_json(json, self.as_dict())
            print_text(f"\nwritten: {json}")
        if png is not None:
            draw(self, png)
            print_text(f"written: {png}")
        return status


def table(report: Report) -> str:
    """One line per reading, the cheapest first."""
    lines = [
        f"{'name':24} {report.unit:>10} {'median ms':>10} {'min':>8} {'max':>8} {'extra memory':>13} {'kept':>6}"
    ]
    for reading in sorted(report.readings, key=lambda reading: reading.ratio or 0):
        if reading.ratio is None:
            lines.append(f"{reading.name:24} {reading.problem}")
            continue
        times = [1e3 * value for value in reading.seconds]
        extra, kept = (_memory(count, report.unit_bytes) for count in (reading.extra_bytes, reading.kept_bytes))
        lines.append(
            f"{reading.name:24} {reading.ratio:10.2f} {median(times):10.1f} {min(times):8.1f} {max(times):8.1f} "
            f"{extra:>13} {kept:>6}"
        )
    return "\n".join(lines)


def _memory(count: int | None, unit_bytes: int) -> str:
    """Bytes in units of the matrix."""
    return "-" if count is None or not unit_bytes else f"{count / unit_bytes:.2f}"


def machine() -> Mapping[str, Any]:
    """Where this was measured: in words, and the facts that speed depends on."""
    cpu = _cpu_model()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    words = f"{os.cpu_count()} CPU cores ({cpu}), {gpu or 'no GPU'}, {torch.get_num_threads()} threads"
    return {
        "words": f"{words}, torch {torch.__version__}, {platform.system()}",
        "cpu": cpu,
        "cores": os.cpu_count(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def draw(report: Report, path: Path) -> None:
    """Bars of the ratios with the range of the single repetitions."""
    from matplotlib.figure import Figure  # slow to import, and only pictures need it

    known = [(reading.ratio, reading) for reading in report.readings if reading.ratio is not None]
    known.sort(key=lambda pair: pair[0], reverse=True)
    ratios = [ratio for ratio, _ in known]
    spread = [[], []]  # type: list[list[float]]
    for ratio, reading in known:
        unit = median(reading.yardstick)
        spread[0].append(ratio - min(reading.seconds) / unit)
        spread[1].append(max(reading.seconds) / unit - ratio)
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(known)), layout="constrained")
    axes = figure.subplots()
    axes.barh([reading.name for _, reading in known], ratios, xerr=spread, color="#4477aa", ecolor="#bbbbbb")
    axes.axvline(1, color="#cc3311", linewidth=1)
    axes.set_xlabel(f"{report.unit} (red: one)")
    axes.set_title(f"{report.title}\n{machine()['words']}", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)
