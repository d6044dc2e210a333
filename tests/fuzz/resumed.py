"""A damaged run is resumed: does it end as the undamaged one would, or does a sentence say why not?"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzz.damage import Scene
from fuzz.half_run import Outcome, arguments, copy_of, half_run, same_state
from fuzz.oracle import Ended, call, mistakes

SECONDS = 5.0
"""Of the processor, for a run that takes a quarter of one."""

SECRET = "somebody else's\n"


@dataclass(frozen=True)
class Runs:
    """The directories of the run and of one with another seed, and what comes out of the first.

    Attributes:
        quiet: lines that a run says which is resumed from an undamaged directory.
    """

    ours: Path
    foreign: Path
    expected: Outcome
    quiet: int

    def outcome(self, ended: Ended) -> str:
        """In a few words, for a count."""
        if ended.status:
            return "refused"
        return "went on in silence" if len(ended.said) <= self.quiet else "went on and said what was wrong"


def runs_of(folder: Path) -> Runs:
    """Make both; that a run which was killed twice ends as one that was not is a test by itself."""
    call(arguments(folder / "whole"))
    ours, foreign = half_run(folder / "ours"), half_run(folder / "foreign", seed=1)
    ended = call([*arguments(copy_of(ours, folder / "again").parent), "--resume"])
    assert ended.status == 0, ended.err
    expected, whole = Outcome.of(folder / "again" / "run"), Outcome.of(folder / "whole" / "run")
    assert same_state(expected.state, whole.state)
    assert expected.records == whole.records
    return Runs(ours, foreign, expected, len(ended.said))


def resumed(folder: Path, seed: int, runs: Runs, harm: Callable[[Scene], str]) -> tuple[str, Ended, list[str]]:
    """How the run was damaged, how it ended, and what is wrong with that.

    Args:
        folder: the damaged copy is made there, in the place of the one before.
    """
    shutil.rmtree(folder / "runs", ignore_errors=True)
    outside = folder / "outside"
    outside.write_text(SECRET)
    directory = copy_of(runs.ours, folder / "runs")
    how = harm(Scene(directory, runs.foreign, outside, random.Random(seed)))
    ended = call([*arguments(directory.parent), "--resume"]).without(folder)
    found = mistakes(ended, SECONDS, statuses=(0, 1, 2), one_sentence=False)
    if ended.status == 0 and not found:
        found = results(directory, ended, runs)
    if outside.read_text() != SECRET:
        found.append("a file outside the directory is changed")
    return how, ended, found


def results(directory: Path, ended: Ended, runs: Runs) -> list[str]:
    """What is wrong with a run that says it is completed."""
    others = [path for path in directory.parent.iterdir() if path != directory]
    if others:
        return ["another run is begun beside the damaged one"]
    try:
        outcome = Outcome.of(directory)
    except (OSError, ValueError, KeyError) as error:
        return [f"the records of a completed run cannot be read: {type(error).__name__}"]
    if not same_state(outcome.state, runs.expected.state):
        return ["other parameters than those of the undamaged run"]
    if outcome.records == runs.expected.records and outcome.summary == runs.expected.summary:
        return []
    said = [line for line in ended.said if "metrics.jsonl" in line or "record" in line]
    if outcome.records == runs.expected.records:
        return ["another summary than that of the undamaged run"]
    return [] if said else ["other records than those of the undamaged run, and nothing is said"]
