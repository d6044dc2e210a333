"""What a sweep has found: one record per cell, and tables attack x aggregator."""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from fedsim.errors import counted
from fedsim.files import write_text
from fedsim.sweep.cells import STATES, Progress
from fedsim.sweep.earlier import earlier_lines
from fedsim.sweep.names import in_table
from fedsim.sweep.plan import Sweep

ROWS, COLUMNS, REPEATS = "aggregator", "attack", "seed"


def keep_results(sweep: Sweep, cells: Sequence[Progress]) -> None:
    """Write ``results.csv``, ``results.json`` and ``table.md`` to the sweep's folder."""
    sweep.folder.mkdir(parents=True, exist_ok=True)
    records = [_record(progress) for progress in cells]
    write_text(sweep.folder / "results.json", json.dumps(records, indent=1) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for record in records for key in record)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(records)
    write_text(sweep.folder / "results.csv", text.getvalue())
    metrics = dict.fromkeys(name for progress in cells for name in progress.metrics)
    tables = [markdown(sweep, cells), *(markdown(sweep, cells, metric) for metric in metrics)]
    write_text(sweep.folder / "table.md", "\n\n".join(tables) + "\n")


def _record(progress: Progress) -> dict[str, Any]:
    return {
        **progress.cell.labels,
        "state": progress.state,
        "accuracy": progress.accuracy,
        "rounds": progress.rounds,
        "seconds": progress.seconds,
        "reason": progress.reason or None,
        "directory": str(progress.directory or progress.cell.directory),
        "config_hash": progress.cell.config_hash,
        "results_version": progress.version,
        **progress.quality,
        **{f"metrics.{name}": values["final"] for name, values in progress.metrics.items() if "final" in values},
    }


def markdown(sweep: Sweep, cells: Sequence[Progress], metric: str = "") -> str:
    """Tables of final test accuracy: aggregators down, attacks across, mean and deviation over the seeds.

    There is a table for each choice on the other axes. The last column is the worst of a row: what its aggregator
    guarantees.

    Args:
        metric: another value than accuracy, of which it is not known whether small or large ones are worse.
    """
    rows, columns = list(sweep.axes.get(ROWS, [""])), list(sweep.axes.get(COLUMNS, [""]))
    others = {axis: labels for axis, labels in sweep.axes.items() if axis not in (ROWS, COLUMNS, REPEATS)}
    named, last = in_table(metric), [] if metric else ["worst"]
    tables = []
    for choice in itertools.product(*others.values()):
        here = dict(zip(others, choice, strict=True))
        title = ", ".join(filter(None, [named, *(f"{axis} {in_table(label)}" for axis, label in here.items())]))
        heads = [ROWS, *(in_table(column) or named or "accuracy" for column in columns), *last]
        lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for row in rows:
            entries = [_entry(cells, {**here, ROWS: row, COLUMNS: column}, metric) for column in columns]
            known = [entry for entry in entries if entry.mean is not None]
            worst = min(known, key=lambda entry: entry.mean or 0.0, default=_Entry([]))
            lines.append(f"| {' | '.join([in_table(row) or '-', *map(str, entries), *(str(worst) for _ in last)])} |")
        tables.append("\n".join([*([f"**{title}**", ""] if title else []), *lines]))
    return "\n\n".join(tables)


class _Entry:
    """One field of a table: the cells that differ by their seed only."""

    def __init__(self, cells: Sequence[Progress], metric: str = "") -> None:
        values = [_value(cell, metric) for cell in cells if cell.state == "done"]
        done = [value for value in values if value is not None]
        self.mean = mean(done) if done else None
        self._deviation = stdev(done) if len(done) > 1 else None
        self._not_done = [cell.state for cell in cells if cell.state != "done"]

    def __str__(self) -> str:
        number = "" if self.mean is None else f"{self.mean:.3f}"
        number += "" if self._deviation is None else f" ± {self._deviation:.3f}"
        left = [f"{self._not_done.count(state)} {state}" for state in STATES if state in self._not_done]
        if not number and len(set(self._not_done)) == 1:
            return self._not_done[0]
        return " ".join(filter(None, [number, f"({', '.join(left)})" if left else ""])) or "-"


def _value(progress: Progress, metric: str) -> float | None:
    """The final value of a metric; of the accuracy, which every run has, if none is named."""
    return progress.metrics.get(metric, {}).get("final") if metric else progress.accuracy


def _entry(cells: Sequence[Progress], place: Mapping[str, str], metric: str) -> _Entry:
    fitting = [one for one in cells if all(one.cell.labels.get(axis, "") == label for axis, label in place.items())]
    return _Entry(fitting, metric)


def status_lines(cells: Sequence[Progress], seconds_left: float | None) -> Iterator[str]:
    """A line for each cell, then how many are in which state."""
    width = max(len(str(cell.cell)) for cell in cells)
    for cell in cells:
        yield f"{str(cell.cell).ljust(width)}  {cell.state.ljust(8)}  {cell.remark}".rstrip()
    counts = [f"{sum(cell.state == state for cell in cells)} {state}" for state in STATES]
    left = "" if seconds_left is None else f"; about {in_words(seconds_left)} left"
    yield f"{counted(len(cells), 'cell')}: {', '.join(count for count in counts if not count.startswith('0 '))}{left}"
    yield from earlier_lines(cell.earlier for cell in cells)


def in_words(seconds: float) -> str:
    """A time as a clock shows it.

    >>> in_words(75), in_words(7300)
    ('1:15', '2:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def seconds_left(cells: Sequence[Progress], jobs: int) -> float | None:
    """Of what is not done, as far as those that are done say."""
    took = [cell.seconds for cell in cells if cell.state == "done" and cell.seconds]
    todo = sum(cell.state in ("pending", "stopped", "running") for cell in cells)
    return mean(took) * todo / max(1, jobs) if took and todo else None
