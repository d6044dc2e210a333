"""What a benchmark leaves: a table in the terminal, JSON, a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from fedsim.benchmark.machine import Conditions
from fedsim.benchmark.measure import Reading
from fedsim.records.console import print_text
from fedsim.run_directory.directory import write_json


@dataclass(frozen=True)
class Report:
    """The readings of one run of a benchmark.

    Attributes:
        title: what was measured, in words.
        unit: what the ratios count, for example reads of the matrix.
        yardstick: what one unit is, in words.
        unit_bytes: memory of one unit, for the extra memory; 0 where it makes no sense.
        notes: lines about what was measured.
    """

    title: str
    unit: str
    yardstick: str
    conditions: Conditions
    readings: Sequence[Reading]
    unit_bytes: int = 0
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "unit": self.unit,
            "yardstick": self.yardstick,
            "unit_bytes": self.unit_bytes,
            "command": self.conditions.command,
            "machine": self.conditions.machine,
            "notes": list(self.notes),
            "readings": [reading.as_dict() for reading in self.readings],
        }

    def publish(self, json: Path | None, png: Path | None) -> int:
        """Show the table, and write the files that were asked for; exit status as of :func:`print_text`."""
        machine = self.conditions.machine
        lines = [self.title, machine["words"], machine["warning"], f"Yardstick: {self.yardstick}", *self.notes]
        status = print_text("\n".join([*filter(None, lines), "", table(self)]))
        if json is not None:
            write_json(json, self.as_dict())
            print_text(f"\nwritten: {json}")
        if png is not None:
            draw(self, png)
            print_text(f"written: {png}")
        return status


def table(report: Report) -> str:
    """One line per reading, the cheapest first."""
    heads, rows = columns(report.unit, report.unit_bytes, [reading.as_dict() for reading in report.readings])
    widths = [max(len(row[place]) for row in (heads, *rows) if len(row) > 2) for place in range(len(heads))]
    return "\n".join(_line(row, widths) for row in (heads, *rows))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """The name on the left, numbers on the right; a problem, which is all that there is, as it is."""
    if len(cells) == 2:
        return "  ".join([cells[0].ljust(widths[0]), cells[1]])
    numbers = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "  ".join([cells[0].ljust(widths[0]), *numbers])


def columns(unit: str, unit_bytes: int, readings: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The headings of a report's table, and a row of cells for each reading, the cheapest first.

    Args:
        readings: as :meth:`Reading.as_dict` gives them, or as older versions did, which did not measure CPU time.
    """
    figures = list(dict.fromkeys(name for reading in readings for name in reading.get("figures", ())))
    memory = ["extra memory", "kept"] if unit_bytes else []
    heads = ["name", unit, "in CPU time", "median ms", "CPU ms", "min", "max", *memory, *figures]
    ordered = sorted(readings, key=lambda reading: reading["ratio"] or 0)
    return heads, [_cells(reading, unit_bytes, figures) for reading in ordered]


def _cells(reading: Mapping[str, Any], unit_bytes: int, figures: Sequence[str]) -> list[str]:
    if reading["ratio"] is None:
        return [reading["name"], reading["problem"]]
    times = [1e3 * value for value in reading["seconds"]]
    cpu = [1e3 * value for value in reading.get("cpu_seconds", ())]
    cells = [
        f"{reading['ratio']:.2f}",
        _number(reading.get("cpu_ratio"), ".2f"),
        f"{median(times):.1f}",
        _number(median(cpu) if cpu else None, ".1f"),
        f"{min(times):.1f}",
        f"{max(times):.1f}",
    ]
    if unit_bytes:
        held = (reading["extra_bytes"], reading.get("kept_bytes", 0))
        cells += [_number(None if count is None else count / unit_bytes, ".2f") for count in held]
    return [reading["name"], *cells, *(_number(reading.get("figures", {}).get(name), ".4g") for name in figures)]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


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
    axes.set_title(f"{report.title}\n{report.conditions.machine['words']}", fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=120)
