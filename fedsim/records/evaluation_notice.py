"""A notice about runs that spend more time on evaluation than on training."""

import logging

from fedsim.records.round_record import RoundRecord
from fedsim.records.writers import RecordWriter

log = logging.getLogger(__name__)

ROUNDS_LOOKED_AT = 5
"""At least so many, and not the first one, in which much is done for the first time."""

WORTH_SAYING = 30.0
"""Seconds of evaluation that are still to come; what takes less is not worth a sentence."""

TIMES_RARER = 10
"""By how much rarer evaluation is in the example that the notice gives."""


class EvaluationNotice(RecordWriter):
    """Says once, after the first rounds, if evaluation takes longer than the clients' training.

    Args:
        rounds: of the whole run.
        every: rounds between evaluations.
    """

    def __init__(self, rounds: int, every: int) -> None:
        self._rounds, self._every = rounds, every
        self._window = -(-ROUNDS_LOOKED_AT // every) * every  # as many evaluations as in any rounds of that number
        self._seen = 0
        self._training = self._evaluation = self._total = 0.0

    def write(self, record: RoundRecord) -> None:
        self._seen += 1
        if not 1 < self._seen <= self._window + 1:
            return
        times = record.times
        # Rank 0 waits for the training of other ranks, and for that on a GPU, while it gathers the rows.
        self._training += times.get("local_work", 0.0) + times.get("gather", 0.0)
        self._evaluation += times.get("evaluate", 0.0)
        self._total += sum(times.values())
        if self._seen == self._window + 1:
            self._judge(record.round)

    def _judge(self, done: int) -> None:
        to_come = self._evaluation / self._window * (self._rounds - done)
        if self._evaluation <= self._training or to_come < WORTH_SAYING:
            return
        rarer = self._evaluation / TIMES_RARER
        log.info(
            "evaluation takes %.0f %% of the time, more than the clients' training; "
            "evaluation.every: %d would make it %.0f %%, and the model stays the same",
            100 * self._evaluation / self._total,
            TIMES_RARER * self._every,
            100 * rarer / (self._total - self._evaluation + rarer),
        )

    def close(self, status: str) -> None:
        pass
