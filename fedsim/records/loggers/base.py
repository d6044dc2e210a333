"""What a logger is: it is given the records of a run, one by one, and sends them where users look at them."""

import importlib.util
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from fedsim.errors import ConfigError
from fedsim.records.flat_numbers import client_numbers_of, numbers_of
from fedsim.records.round_record import RoundRecord
from fedsim.registry import Component, Registry
from fedsim.settings import Schema


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What a logger knows of its run at the start.

    Attributes:
        name: that of its directory.
        directory: where the run is recorded.
        settings: the configuration as written to ``config.yaml``.
        label: the logger's name; the second logger of one name has ``_2`` behind it.
        known_as: what :meth:`Logger.start` returned when the run was started; empty in a new run.
    """

    name: str
    directory: Path
    settings: Mapping[str, Any]
    label: str
    known_as: str = ""


class Logger(Component):
    """Base of every logger; a subclass implements :meth:`log`, and :meth:`start` and :meth:`end` if it needs them.

    It lives on rank 0 and is given every round once, in order, also where the run is resumed in between. If it
    raises, a warning says so and it is called no more; the run goes on. The global generators are restored after
    each call.

    >>> from fedsim.records.round_record import Quality
    >>> class Best(Logger):
    ...     "Remembers the best accuracy."
    ...     best = 0.0
    ...     def log(self, record):
    ...         self.best = max(self.best, self.numbers(record).get("accuracy", 0.0))
    >>> logger = Best()
    >>> for number, accuracy in [(1, 0.5), (2, None), (3, 0.4)]:
    ...     logger.log(RoundRecord(round=number, quality=Quality(accuracy=accuracy), train_loss=float("nan")))
    >>> logger.best
    0.5
    """

    class Settings(Schema):
        clients: bool = Field(False, description="log the numbers of single clients, too (clients.<name>.<client>)")

    settings: Settings

    package: ClassVar[str] = ""
    """The package that it needs, which is also the name of the extra that installs it; empty: none."""

    starts_over: ClassVar[bool] = False
    """Whether it writes everything again when the run is resumed, and so is given all rounds; else it is given those
    that it has not logged yet."""

    def check(self) -> None:
        """Check what can be checked before the run.

        Raises:
            ConfigError: the package that it needs is not installed, or a setting cannot be used.
        """
        if self.package and not _is_installed(self.package):
            extra = f"pip install 'fedsim-byzantine[{self.package}]'"
            raise ConfigError("name", f"'{self.name}' needs {self.package}, which is not installed", extra)

    def start(self, run: LoggedRun) -> str:
        """Begin to log a run, or go on with it.

        Returns:
            What it needs to find the run again (an id), given back as ``run.known_as``.
        """
        return ""

    @abstractmethod
    def log(self, record: RoundRecord) -> None:
        """Log a round; :meth:`numbers` are its numbers."""

    def end(self, status: str, results: Mapping[str, Any]) -> None:
        """No round follows.

        Args:
            status: ``completed``, ``interrupted``, ``diverged`` or ``failed``.
            results: ``rounds``, ``final_accuracy``, ``best_accuracy``, ``best_round``, ``final_loss`` as in
                ``summary.json``; what is null there is missing.
        """

    def numbers(self, record: RoundRecord) -> dict[str, float]:
        """The finite numbers of a round by their flat names; what is null in ``metrics.jsonl`` is missing."""
        return dict(_finite(self.all_numbers(record)))

    def all_numbers(self, record: RoundRecord) -> dict[str, float | None]:
        """The same with None, NaN and infinity."""
        return {**numbers_of(record), **(client_numbers_of(record) if self.settings.clients else {})}


def _finite(values: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if value is not None and isfinite(value):
            yield name, value


def _is_installed(package: str) -> bool:
    """Whether a package can be imported; a folder of its name, as Weights & Biases leaves one, is none."""
    if package in sys.modules:
        return True
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def flat_settings(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings under dotted keys; those of a list's items have their position.

    >>> dict(flat_settings({"seed": 0, "attack": [{"name": "alie"}, {"name": "ipm"}]}))
    {'seed': 0, 'attack.0.name': 'alie', 'attack.1.name': 'ipm'}
    """
    items = values.items() if isinstance(values, Mapping) else enumerate(values)
    for key, value in items:
        if isinstance(value, Mapping) or (isinstance(value, list) and any(isinstance(one, Mapping) for one in value)):
            yield from flat_settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


loggers = Registry("logger", Logger)
