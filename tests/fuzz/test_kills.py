"""A run that is killed at any moment, several times, and resumed, has the results of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from fuzz.children import start, start_ranks
from fuzz.half_run import Outcome, arguments, same_state
from fuzz.oracle import call, mistakes
from fuzz.tally import Tally, long_form
from support.launch import MAIN, clean_environment

SHORT, LONG = 5, 100
ROUNDS = 12
ATTEMPTS = 4
"""Kills of one run before it may end."""


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, float]:
    """What comes out of the run that nobody kills, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("whole")
    call(arguments(folder / "first", rounds=1))  # imports what is imported only where it is used
    started = time.monotonic()
    assert start(arguments(folder, ROUNDS)).wait() == 0
    return Outcome.of(folder / "run", ROUNDS), time.monotonic() - started


def kill_at_random(words: list[str], ranks: int, draw: random.Random, seconds: float) -> tuple[int, str]:
    """How many processes of a run were killed, and how in words."""
    children = start_ranks(words, ranks) if ranks > 1 else [start(words)]
    moment = draw.uniform(0, seconds * (1 + 0.5 * (ranks > 1)))
    time.sleep(moment)
    whole_group = draw.random() < 0.5
    if whole_group:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(children[0].pid, signal.SIGKILL)
    for child in children if whole_group else [draw.choice(children)]:
        child.kill()
    killed = sum(child.wait() == -signal.SIGKILL for child in children)
    return killed, f"{killed} of {ranks} after {moment:.2f} s"


def what_is_left(folder: Path, expected: Outcome) -> list[str]:
    """What is wrong with a run that was killed and has been resumed to its end."""
    directory = max(path for path in folder.glob("run*") if (path / "summary.json").exists())
    if directory.name != "run" and (folder / "run" / "config.yaml").exists():
        return ["another run is begun beside the killed one"]
    outcome, found = Outcome.of(directory, ROUNDS), []
    if not same_state(outcome.state, expected.state):
        found.append("other parameters than those of the run that nobody killed")
    if outcome.records != expected.records:
        found.append("other records than those of the run that nobody killed")
    if outcome.summary != expected.summary:
        found.append("another summary than that of the run that nobody killed")
    if list(directory.rglob("*.part*")):
        found.append("parts of files are left")
    if left := [name for name in os.listdir("/dev/shm") if name.startswith("fedsim")]:
        found.append(f"left in shared memory: {left}")
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(0)])])
def test_a_killed_run_ends_as_if_nobody_had_killed_it(
    tmp_path: Path, expected: tuple[Outcome, float], count: int
) -> None:
    tally, draw = Tally("kills"), random.Random(0)
    left = count if count == SHORT else long_form(count)
    while left > 0:
        folder = tmp_path / str(left)
        words = [*arguments(folder, ROUNDS), "--resume-or-start"]
        how = []
        for _ in range(draw.randint(1, min(ATTEMPTS, left))):
            killed, said = kill_at_random(words, 2 if left % 3 == 0 else 1, draw, expected[1])
            left -= killed > 0
            how.append(said)
            tally.add("hit" if killed else "too late", [], said)
        ended = call(words)
        found = mistakes(ended, 10, statuses=(0,)) or what_is_left(folder, expected[0])
        tally.add("resumed", found, f"{'; '.join(how)}: {ended.err[-250:]!r}")
    tally.require_clean()


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("ignore")
def test_a_killed_launch_of_torchrun_ends_as_if_nobody_had_killed_it(
    tmp_path: Path, expected: tuple[Outcome, float]
) -> None:
    tally, draw = Tally("kills of torchrun and its ranks"), random.Random(1)
    for number in range(long_form(LONG // 10)):
        folder = tmp_path / str(number)
        words = [*arguments(folder, ROUNDS), "--resume-or-start"]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        process = subprocess.Popen(
            [*launcher, str(MAIN), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=clean_environment(),
            start_new_session=True,
        )
        wait_for(folder / "run" / "config.yaml")
        moment = draw.uniform(0, 1.5 * expected[1])
        time.sleep(moment)
        launcher_and_ranks = psutil.Process(process.pid)
        ranks = launcher_and_ranks.children(recursive=True)  # in sessions of their own
        for one in draw.sample([launcher_and_ranks, *ranks], len(ranks) + 1):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        hit = process.wait(60) == -signal.SIGKILL
        psutil.wait_procs(ranks, timeout=60)
        ended = call(words)
        found = mistakes(ended, 10, statuses=(0,)) or what_is_left(folder, expected[0])
        tally.add("hit" if hit else "too late", found, f"{moment:.2f} s after the start: {ended.err[-250:]!r}")
    tally.require_clean()


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 60
    while not path.exists() and time.monotonic() < limit:
        time.sleep(0.01)
