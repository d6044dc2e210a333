"""The metrics of a run: called, each with its own randomness, and what they return checked and named."""

import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from torch import Tensor

from fedsim.errors import FedsimError, keys_under, shortened
from fedsim.evaluation.metrics.base import Metric, Predictions, RoundRows
from fedsim.registry import labels_of
from fedsim.seeds import derive_seed, seeded

Named = Mapping[str, float | None]
"""A number under the name that it is recorded by; None where there is none."""

KEY = "evaluation.metrics"


class MetricError(FedsimError):
    """A metric raised, or returned what is no number; the message names it and its file."""


class RunMetrics:
    """What a run measures beside accuracy and loss.

    Args:
        metrics: in the order of the configuration; a second one of the same name is recorded as ``<name>_2``.
        seed: of the run.
    """

    def __init__(self, metrics: Sequence[Metric] = (), seed: int = 0) -> None:
        self.labels = labels_of([metric.name for metric in metrics])
        """Under which their values are recorded."""
        self._metrics, self._seed = tuple(metrics), seed

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._metrics)

    @property
    def use_predictions(self) -> bool:
        """Whether some metric asks for the predictions."""
        return any(metric.uses_predictions for metric in self._metrics)

    @property
    def whole_rows_only(self) -> list[str]:
        """Names of the metrics that need whole rows, where a server may have some columns of them."""
        return [metric.name for metric in self._metrics if metric.uses_rows and not metric.shardable]

    def check(self, num_classes: int) -> None:
        """Raise ConfigError if the settings of a metric make no sense for so many classes."""
        for position, metric in enumerate(self._metrics):
            with keys_under(f"{KEY}.{position}"):
                metric.check(num_classes)

    def of_predictions(self, predictions: Predictions, round_index: int) -> Named:
        """The values of all metrics of predictions."""
        return self._values(lambda metric: metric.uses_predictions, "of_predictions", predictions, round_index)

    def of_rows(self, rows: RoundRows) -> Named:
        """The values of all metrics of rows."""
        return self._values(lambda metric: metric.uses_rows, "of_rows", rows, rows.context.round)

    def _values(
        self, wanted: Callable[[Metric], bool], method: str, given: Predictions | RoundRows, round_index: int
    ) -> Named:
        values: dict[str, float | None] = {}
        for position, metric in enumerate(self._metrics):
            if wanted(metric):
                with seeded(derive_seed(self._seed, "metric", position, round_index)):
                    values |= _named(self.labels[position], metric, getattr(metric, method), given)
        return values


def _named(label: str, metric: Metric, method: Callable[..., Any], given: Predictions | RoundRows) -> Named:
    """What a metric returns, under the names by which it is recorded.

    Raises:
        MetricError: it raised, or returned something else than a number or numbers by name.
    """
    try:
        returned = method(given)
    except Exception as error:
        what = shortened(": ".join(filter(None, [type(error).__name__, str(error)])), 150)
        raise MetricError(f"metric '{metric.name}' ({_place(metric, error)}) raised {what}") from error
    by_name = returned if isinstance(returned, Mapping) else {"": returned}
    for name, value in by_name.items():
        if not isinstance(name, str) or not _is_number(value):
            shown = shortened(repr(value), 60)
            where = f"{shown} under {name!r}" if isinstance(returned, Mapping) else shown
            remedy = "it must return a number, or a dict of numbers by name"
            raise MetricError(f"metric '{metric.name}' ({_file(metric)}) returned {where}; {remedy}")
    return {".".join(filter(None, [label, name])): _finite(value) for name, value in by_name.items()}


def _is_number(value: Any) -> bool:
    return value.numel() == 1 and not value.is_complex() if isinstance(value, Tensor) else isinstance(value, Real)


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except OverflowError:  # of a whole number that no float can hold
        return None
    return number if math.isfinite(number) else None


def _file(metric: Metric) -> str:
    try:
        return Path(inspect.getsourcefile(type(metric)) or "unknown file").name
    except TypeError:  # of a class that was made in a terminal
        return "unknown file"


def _place(metric: Metric, error: BaseException) -> str:
    """The file of the metric, and the line of it at which the error came out."""
    file = _file(metric)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).name == file]
    return f"{file}, line {lines[-1]}" if lines else file
