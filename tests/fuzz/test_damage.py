"""A run that is resumed from a damaged directory ends as the undamaged one would, or a sentence says why not."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fuzz.damage import Scene, damage
from fuzz.half_run import Outcome, arguments, copy_of, half_run, same_state
from fuzz.oracle import Ended, call, mistakes
from fuzz.tally import Tally, long_form

SHORT, LONG = 14, 1_000
SECONDS = 5.0
"""Of the processor, for a run that takes a quarter of one."""

SECRET = "somebody else's\n"


@dataclass(frozen=True)
class Runs:
    """The directories of the run and of one with another seed, and what comes out of the first."""

    ours: Path
    foreign: Path
    expected: Outcome
    quiet: int


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("half_run")
    call(arguments(folder / "whole"))
    ours, foreign = half_run(folder / "ours"), half_run(folder / "foreign", seed=1)
    ended = call([*arguments(copy_of(ours, folder / "again").parent), "--resume"])
    assert ended.status == 0, ended.err
    expected, whole = Outcome.of(folder / "again" / "run"), Outcome.of(folder / "whole" / "run")
    assert same_state(expected.state, whole.state)
    assert expected.records == whole.records
    return Runs(ours, foreign, expected, len(ended.said))


def resumed(folder: Path, seed: int, runs: Runs, harm: Callable[[Scene], str]) -> tuple[str, Ended, list[str]]:
    """How the run was damaged, how it ended, and what is wrong with that."""
    outside = folder / "outside"
    outside.write_text(SECRET)
    directory = copy_of(runs.ours, folder / "runs")
    how = harm(Scene(directory, runs.foreign, outside, random.Random(seed)))
    ended = call([*arguments(directory.parent), "--resume"], seconds=15)
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(0)])])
def test_a_damaged_directory_gives_the_same_results_or_a_sentence(tmp_path: Path, runs: Runs, count: int) -> None:
    tally = Tally("damaged run directories")
    for seed in range(count if count == SHORT else long_form(count)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        times = 1 if seed % 4 else 2
        how, ended, found = resumed(folder, seed, runs, lambda scene, times=times: damage(scene, times))
        outcome = (
            "same results"
            if ended.status == 0 and len(ended.said) <= runs.quiet
            else "same results, or it is said what is lost"
            if ended.status == 0
            else "refused"
        )
        tally.add(outcome, found, f"seed {seed}: {how}: {ended.err[-250:]!r}", ended.cpu)
    tally.require_clean()
