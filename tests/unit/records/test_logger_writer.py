"""Loggers are given each round once, whatever becomes of the run, and cannot end it."""

import json
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsim.records.logger_writer import NOTES, logger_writers
from fedsim.records.loggers import LoggedRun, Logger
from fedsim.records.round_record import RoundRecord
from fedsim.records.writers import JsonLines
from support.fake_loggers import a_record


class Remembers(Logger):
    """A service that keeps what it was given under an id."""

    name = "remembers"
    stored: dict[str, list[int]]
    fails_at: object = None

    def start(self, run: LoggedRun) -> str:
        self._fail("start")
        self.id = run.known_as or f"id{len(self.stored)}"
        self.stored.setdefault(self.id, [])
        return self.id

    def log(self, record: RoundRecord) -> None:
        torch.rand(1), random.random()
        self._fail(record.round)
        self.stored[self.id].append(record.round)

    def end(self, status: str, results: Mapping[str, Any]) -> None:
        self._fail("end")
        self.ended = (status, results)

    def _fail(self, where: object) -> None:
        if where == self.fails_at:
            raise OSError(f"no network at {where}")


class Rewrites(Remembers):
    """A file that is written again."""

    name, starts_over = "rewrites", True


def a_logger(
    kind: type[Remembers], stored: dict[str, list[int]], fails_at: object = None, **settings: Any
) -> Remembers:
    logger = kind(**settings)
    logger.stored, logger.fails_at = stored, fails_at
    return logger


def part_of_run(
    folder: Path, first: int, last: int, *loggers: Logger, done: int | None = None, status: str | None = "completed"
) -> None:
    """The rounds of one start of a run, as build_writer writes them; without a status it is killed."""
    done = first - 1 if done is None else done
    lines = JsonLines(folder / "metrics.jsonl", done, "run")
    writers = [lines, *logger_writers(loggers, folder, {}, done)]
    for number in range(first, last + 1):
        for writer in writers:
            writer.write(a_record(number))
    for writer in writers if status else [lines]:
        writer.close(status or "")


def test_a_killed_run_that_repeats_rounds_logs_none_twice(tmp_path: Path) -> None:
    stored: dict[str, list[int]] = {}
    first = a_logger(Remembers, stored)
    part_of_run(tmp_path, 1, 4, first, status=None)
    part_of_run(tmp_path, 3, 6, a_logger(Remembers, stored))  # the newest checkpoint was that of round 2
    assert stored == {"id0": [1, 2, 3, 4, 5, 6]}


def test_one_that_starts_over_is_given_everything_again(tmp_path: Path) -> None:
    part_of_run(tmp_path, 1, 4, a_logger(Rewrites, {}), status=None)
    stored: dict[str, list[int]] = {}
    part_of_run(tmp_path, 3, 5, a_logger(Rewrites, stored))
    assert list(stored.values()) == [[1, 2, 3, 4, 5]]
    assert not (tmp_path / NOTES).exists()


@pytest.mark.parametrize("fails_at", ["start", 2, "end"])
def test_one_that_fails_is_named_once_switched_off_and_catches_up_when_resumed(
    fails_at: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stored: dict[str, list[int]] = {}
    other: dict[str, list[int]] = {}
    part_of_run(tmp_path, 1, 3, a_logger(Remembers, stored, fails_at), a_logger(Rewrites, other))
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == [
        f"tracking.loggers: remembers is switched off, the run goes on without it: OSError: no network at {fails_at}"
    ]
    assert list(other.values()) == [[1, 2, 3]]
    part_of_run(tmp_path, 4, 5, a_logger(Remembers, stored))
    assert stored == {"id0": [1, 2, 3, 4, 5]}


def test_one_that_is_added_is_given_earlier_rounds_and_other_settings_begin_another_run(tmp_path: Path) -> None:
    stored: dict[str, list[int]] = {}
    part_of_run(tmp_path, 1, 2)
    part_of_run(tmp_path, 3, 3, a_logger(Remembers, stored))
    part_of_run(tmp_path, 4, 4, a_logger(Remembers, stored, clients=True))
    assert stored == {"id0": [1, 2, 3], "id1": [1, 2, 3, 4]}


def test_two_of_one_name_are_told_apart(tmp_path: Path) -> None:
    stored: dict[str, list[int]] = {}
    for first, last in ((1, 2), (3, 4)):
        part_of_run(tmp_path, first, last, *(a_logger(Remembers, stored) for _ in range(2)))
    assert stored == {"id0": [1, 2, 3, 4], "id1": [1, 2, 3, 4]}
    assert set(json.loads((tmp_path / NOTES).read_text())) == {"remembers", "remembers_2"}


@pytest.mark.parametrize("text", ["", "[]", '{"remembers": 3}', '{"remembers": {"settings": {"clients": false}}}'])
def test_damaged_notes_begin_another_run(text: str, tmp_path: Path) -> None:
    stored: dict[str, list[int]] = {}
    part_of_run(tmp_path, 1, 2, a_logger(Remembers, stored))
    (tmp_path / NOTES).write_text(text)
    part_of_run(tmp_path, 3, 3, a_logger(Remembers, stored))
    assert stored == {"id0": [1, 2], "id1": [1, 2, 3]}


def test_the_end_has_the_results_of_all_parts(tmp_path: Path) -> None:
    part_of_run(tmp_path, 1, 3, a_logger(Remembers, {}))
    logger = a_logger(Remembers, {})
    part_of_run(tmp_path, 4, 4, logger, status="interrupted")
    found = {"rounds": 4, "final_accuracy": 0.4, "best_accuracy": 0.4, "best_round": 4}
    assert logger.ended == ("interrupted", found)


def test_the_draws_of_the_run_stay_what_they_are(tmp_path: Path) -> None:
    torch.manual_seed(1)
    random.seed(1)
    before = torch.get_rng_state(), random.getstate()
    part_of_run(tmp_path, 1, 2, a_logger(Remembers, {}))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
