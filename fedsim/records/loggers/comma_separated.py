"""A table that every spreadsheet opens."""

import csv
from collections.abc import Iterable
from io import StringIO
from typing import Any

from fedsim.files import write_text
from fedsim.records.loggers.base import LoggedRun, Logger, loggers
from fedsim.records.round_record import RoundRecord
from fedsim.run_directory.damage import make_way_for


@loggers.register("csv")
class CommaSeparated(Logger):
    """``metrics.csv`` in the run's directory: a row per round, a column per number.

    What is null in ``metrics.jsonl`` is empty. A number that comes up in a later round gets a further column.
    """

    starts_over = True

    def start(self, run: LoggedRun) -> str:
        self._path = run.directory / f"metrics{run.label.removeprefix(self.name)}.csv"
        self._columns: list[str] = []
        make_way_for(self._path)
        write_text(self._path, "")
        return ""

    def log(self, record: RoundRecord) -> None:
        new = [name for name in self.all_numbers(record) if name not in self._columns]
        if new:
            self._add_columns(new)
        numbers = self.numbers(record)
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_lines([[numbers.get(name) for name in self._columns]]))

    def _add_columns(self, names: list[str]) -> None:
        with self._path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
        self._columns += names
        write_text(self._path, _lines([self._columns, *([*row, *[""] * len(names)] for row in rows)]))


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
