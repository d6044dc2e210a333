"""Writers of round records. Ranks other than 0 get :class:`NoOpWriter`, so the loop needs no cases."""

import json
import logging
import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from fedsim.files import write_text
from fedsim.records.metrics_recovery import Line, copy_of, digest, digest_of_all, record_of, recover
from fedsim.records.round_record import RoundRecord
from fedsim.run_directory.damage import make_way_for, read_bytes

log = logging.getLogger(__name__)

COPY = "metrics.backup"
"""The file beside ``metrics.jsonl`` that has a copy of each of its lines."""


class RecordWriter(ABC):
    """Takes one record per round."""

    @abstractmethod
    def write(self, record: RoundRecord) -> None:
        """Store the record of a round."""

    @abstractmethod
    def close(self, status: str) -> None:
        """Flush; no record follows. The status is ``completed``, ``failed`` or ``interrupted``."""

    def state_dict(self) -> dict[str, Any]:
        """What this writer must know again when the run is resumed, as JSON values."""
        return {}


class NoOpWriter(RecordWriter):
    """Writes nothing."""

    def write(self, record: RoundRecord) -> None:
        pass

    def close(self, status: str) -> None:
        pass


class WriterGroup(RecordWriter):
    """Hands every record to several writers, whole: another thread may close them when the run fails."""

    def __init__(self, writers: Collection[RecordWriter]) -> None:
        self._writers, self._turn = writers, threading.Lock()

    def write(self, record: RoundRecord) -> None:
        with self._turn:
            for writer in self._writers:
                writer.write(record)

    def close(self, status: str) -> None:
        with self._turn:
            for writer in self._writers:
                writer.close(status)

    def state_dict(self) -> dict[str, Any]:
        with self._turn:
            return {key: value for writer in self._writers for key, value in writer.state_dict().items()}


class JsonLines(RecordWriter):
    """``metrics.jsonl``: a line per round; NaN and infinity become null.

    Every line has a copy in ``metrics.backup`` beside it, with a digest that binds it to its run. When the run is
    resumed, lines that are missing or damaged are restored from there; one warning says which, and which cannot be.

    Args:
        after_round: lines of later rounds are removed first, so that a resumed run has no round twice.
        run: the run's id.
        known: the digest of the lines up to that round, as the checkpoint has it; None if it does not.
    """

    def __init__(self, path: Path, after_round: int, run: str = "", known: str | None = None) -> None:
        copy = path.with_name(COPY)
        for file in (path, copy):
            make_way_for(file)
        before = recover(read_bytes(path), read_bytes(copy), after_round, run, known)
        if problem := before.problem(COPY):
            log.warning("%s was damaged: %s", path, problem)
        _write_lines(path, (line.text for line in before.lines))
        _write_lines(copy, (copy_of(line, run) for line in before.lines))
        self._run, self._digest = run, known or digest_of_all(before.lines, run)
        self._copy, self._file = copy.open("a", encoding="utf-8"), path.open("a", encoding="utf-8")

    def write(self, record: RoundRecord) -> None:
        line = Line(record.round, json.dumps(_strict(record.to_dict()), allow_nan=False))
        for file, text in ((self._copy, copy_of(line, self._run)), (self._file, line.text)):
            file.write(text + "\n")
            file.flush()
        self._digest = digest(self._digest, line.results)

    def state_dict(self) -> dict[str, Any]:
        """The digest of all lines, which are on the disk before the checkpoint that has it."""
        for file in (self._copy, self._file):
            os.fsync(file.fileno())
        return {"digest": self._digest}

    def close(self, status: str) -> None:
        self._copy.close()
        self._file.close()


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a file of lines, unless it holds them already."""
    text = "".join(f"{line}\n" for line in lines)
    if not path.exists() or read_bytes(path) != text.encode():
        write_text(path, text)


def read_records(metrics: Path) -> list[RoundRecord]:
    """The records in a ``metrics.jsonl``, a round once and in their order; lines that are damaged are left out."""
    records = map(record_of, read_bytes(metrics).split(b"\n"))
    by_round = {record.round: record for record in records if record}
    return [by_round[number] for number in sorted(by_round)]


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list | tuple) else value
