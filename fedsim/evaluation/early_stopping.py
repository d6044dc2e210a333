"""Early stopping: a run ends when a number of its evaluations has long not improved."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from fedsim.records.round_record import RoundRecord

VALIDATION = "validation."
"""In front of what is measured on validation samples."""


class EarlyStopping:
    """Counts evaluations since the best one.

    Args:
        metric: name of a number of a round, as in ``metrics.jsonl``; of a loss lower is better.
        patience: evaluations without improvement that end a run.
        at_least: rounds before which it does not end.

    >>> rule = EarlyStopping("loss", patience=2, at_least=0)
    >>> for number, loss in enumerate([3.0, 2.0, 2.5, 2.0], start=1):
    ...     rule.see(loss)
    ...     rule.ends_after(number)
    False
    False
    False
    True
    """

    def __init__(self, metric: str, patience: int, at_least: int) -> None:
        self.metric, self._patience, self._at_least = metric, patience, at_least
        self._sign = -1 if metric.endswith("loss") else 1
        self._best: float | None = None
        self._since = 0

    def after(self, record: RoundRecord) -> None:
        """Take a round into account; one without evaluation changes nothing."""
        if record.quality.accuracy is not None:
            short = self.metric.removeprefix(VALIDATION)
            self.see(record.validation.get(short) if short != self.metric else getattr(record.quality, short))

    def see(self, value: float | None) -> None:
        """Take an evaluation into account; NaN, infinity and none at all are no improvement."""
        value = value if value is not None and isfinite(value) else None
        if value is not None and (self._best is None or self._sign * (value - self._best) > 0):
            self._best, self._since = value, 0
        else:
            self._since += 1

    def ends_after(self, done: int) -> bool:
        """Whether a run ends after ``done`` rounds."""
        return self._since >= self._patience and done >= self._at_least

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know."""
        return {"metric": self.metric, "best": self._best, "since": self._since}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; after one of another metric, counting starts with the next round."""
        if state["metric"] == self.metric:
            self._best, self._since = state["best"], state["since"]
