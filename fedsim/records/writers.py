"""Writers of round records. Ranks other than 0 get :class:`NoOpWriter`, so the loop needs no cases."""

import json
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fedsim.files import write_text
from fedsim.records.round_record import RoundRecord


class RecordWriter(ABC):
    """Takes one record per round."""

    @abstractmethod
    def write(self, record: RoundRecord) -> None:
        """Store the record of a round."""

    @abstractmethod
    def close(self, status: str) -> None:
        """Flush; no record follows. The status is ``completed``, ``failed`` or ``interrupted``."""


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


class JsonLines(RecordWriter):
    """``metrics.jsonl``: a line per round; NaN and infinity become null.

    Args:
        after_round: lines of later rounds are removed first, so that a resumed run has no round twice.
    """

    def __init__(self, path: Path, after_round: int) -> None:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        write_text(path, "".join(f"{line}\n" for line in lines if _round_of(line) <= after_round))
        self._file = path.open("a", encoding="utf-8")

    def write(self, record: RoundRecord) -> None:
        self._file.write(json.dumps(_strict(record.to_dict()), allow_nan=False) + "\n")
        self._file.flush()

    def close(self, status: str) -> None:
        self._file.close()


def read_records(metrics: Path) -> list[RoundRecord]:
    """The records in a ``metrics.jsonl``; none if the file does not exist, nor of a line that a crash cut off."""
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else []
    return [RoundRecord.from_dict(json.loads(line)) for line in lines if math.isfinite(_round_of(line))]


def _round_of(line: str) -> float:
    try:
        return float(json.loads(line)["round"])
    except (ValueError, KeyError, TypeError):  # a line cut off by a crash
        return math.inf


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, list | tuple) else value
