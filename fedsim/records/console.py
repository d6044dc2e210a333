"""What a user sees while a run goes on: one bar on a terminal, one line per round elsewhere."""

import logging
import os
import sys
from contextlib import suppress
from time import perf_counter

from tqdm import tqdm

from fedsim.records.logs import FILE_ONLY
from fedsim.records.round_record import RoundRecord
from fedsim.records.writers import RecordWriter, WriterGroup
from fedsim.standard_streams import output_is_lost

log = logging.getLogger(__name__)


def print_text(text: str) -> int:
    """Write to standard output, where results go (progress and logs go to standard error).

    What its encoding lacks is escaped; where it has gone, as a closed terminal or ``head``, nothing is written. The
    log file has the text in any case.

    Returns:
        The exit status of a program that was to print no more than this: 1 if it, or something before it, was lost.
    """
    log.info("%s", text, extra=FILE_ONLY)
    encoding = sys.stdout.encoding or "utf-8"
    with suppress(OSError):
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    return int(output_is_lost())


class ProgressBar(RecordWriter):
    """Round, accuracy, loss and time left, in one line of a terminal.

    Args:
        rounds: of the whole run.
        done: rounds that a resumed run has behind it.
    """

    def __init__(self, rounds: int, done: int) -> None:
        self._quality = "accuracy - loss -"
        self._bar = tqdm(
            total=rounds,
            initial=done,
            desc="starting",
            bar_format="{desc} {bar} {n_fmt}/{total_fmt} rounds [{elapsed}<{remaining}]",
            dynamic_ncols=True,
        )

    def write(self, record: RoundRecord) -> None:
        self._quality = quality(record) or self._quality
        self._bar.set_description_str(f"round {record.round} {self._quality}", refresh=False)
        self._bar.update()

    def close(self, status: str) -> None:
        self._bar.close()


class ProgressLines(RecordWriter):
    """The same as a line per round, for output that goes to a file.

    Args:
        file_only: a bar shows it on the terminal.
    """

    def __init__(self, rounds: int, done: int, *, file_only: bool) -> None:
        self._extra = FILE_ONLY if file_only else {}
        self._rounds, self._done, self._started = rounds, done, perf_counter()

    def write(self, record: RoundRecord) -> None:
        round_number = record.round
        left = (perf_counter() - self._started) / (round_number - self._done) * (self._rounds - round_number)
        reached = " ".join(filter(None, [f"round {round_number}/{self._rounds}", quality(record)]))
        log.info("%s, %s left", reached, tqdm.format_interval(left), extra=self._extra)

    def close(self, status: str) -> None:
        pass


def progress(rounds: int, done: int) -> RecordWriter:
    """The bar on a terminal that has a size, lines elsewhere and in the log file."""
    try:
        on_terminal = sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).lines > 0
    except OSError:
        on_terminal = False
    lines = ProgressLines(rounds, done, file_only=on_terminal)
    return WriterGroup([ProgressBar(rounds, done), lines]) if on_terminal else lines


def quality(record: RoundRecord) -> str:
    """Accuracy and loss in words, empty for a round without evaluation."""
    accuracy, loss, validation = record.quality.accuracy, record.quality.loss, record.validation.get("accuracy")
    by_validation = "" if validation is None else f" validation {validation:.3f}"
    return "" if accuracy is None or loss is None else f"accuracy {accuracy:.3f} loss {loss:.3f}{by_validation}"
