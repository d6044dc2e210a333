"""A logger: it is given the record of each round, and sends it where you look at it.

`fedsim --plugin my_logger.py "tracking.loggers=[{name: my_logger, below: 0.5}]"`
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from fedsim.records.loggers import LoggedRun, Logger, loggers
from fedsim.records.round_record import RoundRecord


@loggers.register("my_logger")
class MyLogger(Logger):
    """A line in ``alarms.txt`` of the run's directory for each round with a low accuracy, and one at the end."""

    class Settings(Logger.Settings):
        below: float = Field(0.2, ge=0, le=1, description="accuracy below which a round is worth a line")

    settings: Settings

    def start(self, run: LoggedRun) -> str:
        self._path = run.directory / "alarms.txt"
        return ""  # or the id under which a service knows the run: run.known_as when the run is resumed

    def log(self, record: RoundRecord) -> None:
        accuracy = self.numbers(record).get("accuracy")  # missing in a round without evaluation
        if accuracy is not None and accuracy < self.settings.below:
            self._write(f"round {record.round}: accuracy {accuracy:.3f}")

    def end(self, status: str, results: Mapping[str, Any]) -> None:
        self._write(f"{status} after {results['rounds']} rounds")

    def _write(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
