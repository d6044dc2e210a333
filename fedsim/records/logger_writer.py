"""Loggers as writers of records: each gets every round once, and none can end a run."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fedsim.errors import escaped, shortened
from fedsim.records.loggers.base import LoggedRun, Logger
from fedsim.records.logs import FILE_ONLY
from fedsim.records.round_record import RoundRecord
from fedsim.records.summary import ResultsSoFar, results_in
from fedsim.records.writers import RecordWriter, read_records
from fedsim.registry import labels_of
from fedsim.run_directory.damage import make_way_for, read_json
from fedsim.run_directory.directory import METRICS, write_json
from fedsim.seeds import seeded

log = logging.getLogger(__name__)

NOTES = "loggers.json"
"""What loggers need to go on with their runs elsewhere, and which rounds they have, by label."""


class LoggerNotes:
    """``loggers.json`` of a run's directory; what a logger with other settings has noted does not count."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NOTES
        self._notes = read_json(self._path)

    def of(self, label: str, settings: Mapping[str, Any]) -> tuple[str, int]:
        """The id that a logger has noted, and the last round that it has logged."""
        note = self._notes.get(label)
        if not isinstance(note, dict) or note.get("settings") != settings:
            return "", 0
        name, last_round = note.get("id"), note.get("round")
        return (name, last_round) if isinstance(name, str) and type(last_round) is int else ("", 0)

    def keep(self, label: str, settings: Mapping[str, Any], name: str, last_round: int) -> None:
        """Note them, at once."""
        self._notes[label] = {"settings": settings, "id": name, "round": last_round}
        make_way_for(self._path)
        write_json(self._path, self._notes)


class LoggerWriter(RecordWriter):
    """One logger.

    Args:
        notes: of all loggers of the run.
        before: the records of rounds that a resumed run has behind it; the logger gets those that it has not logged.
        results: what these rounds have found.
    """

    def __init__(
        self,
        logger: Logger,
        run: LoggedRun,
        notes: LoggerNotes,
        before: Iterable[RoundRecord] = (),
        results: ResultsSoFar | None = None,
    ) -> None:
        self._logger, self._label, self._notes = logger, run.label, notes
        self._settings = logger.settings.model_dump(mode="json")
        self._results, self._is_off = results or ResultsSoFar(), False
        self._id, self._last_round = ("", 0) if logger.starts_over else notes.of(run.label, self._settings)
        self._attempt(lambda: self._start(run))
        for record in before:
            self._attempt(lambda record=record: self._log(record))  # type: ignore[misc]

    def write(self, record: RoundRecord) -> None:
        self._results = self._results.after(record)
        self._attempt(lambda: self._log(record))

    def close(self, status: str) -> None:
        results = {key: value for key, value in self._results.to_dict().items() if value is not None}
        results.pop("metrics", None)
        self._attempt(lambda: self._logger.end(status, results))

    def _start(self, run: LoggedRun) -> None:
        self._id = self._logger.start(replace(run, known_as=self._id))
        self._note()

    def _log(self, record: RoundRecord) -> None:
        if record.round > self._last_round:
            self._logger.log(record)
            self._last_round = record.round
            self._note()

    def _note(self) -> None:
        if not self._logger.starts_over:
            self._notes.keep(self._label, self._settings, self._id, self._last_round)

    def _attempt(self, what: Callable[[], None]) -> None:
        """Call the logger; if it raises, say so once and call it no more."""
        if self._is_off:
            return
        try:
            with seeded(0):  # whatever libraries draw, the run's own draws stay what they are
                what()
        except Exception as error:
            self._is_off = True
            reason = shortened(escaped(": ".join(filter(None, [type(error).__name__, str(error)]))), 200)
            log.warning("tracking.loggers: %s is switched off, the run goes on without it: %s", self._label, reason)
            log.info("what %s raised:", self._label, exc_info=True, extra=FILE_ONLY)


def logger_writers(
    loggers: Sequence[Logger],
    directory: Path,
    settings: Mapping[str, Any],
    done: int = 0,
    results: ResultsSoFar | None = None,
) -> list[RecordWriter]:
    """The loggers of a run, started; they stand after ``metrics.jsonl``, from which they learn of earlier rounds.

    Args:
        settings: the configuration as written to ``config.yaml``.
        done: rounds that a resumed run has behind it.
        results: what these have found; None: read from ``metrics.jsonl``.
    """
    if not loggers:
        return []
    metrics = directory / METRICS
    before = read_records(metrics) if done else []
    results, notes = results or results_in(metrics), LoggerNotes(directory)
    writers: list[RecordWriter] = []
    for logger, label in zip(loggers, labels_of([logger.name for logger in loggers]), strict=True):
        run = LoggedRun(name=directory.name, directory=directory, settings=settings, label=label)
        writers.append(LoggerWriter(logger, run, notes, before, results))
    return writers
