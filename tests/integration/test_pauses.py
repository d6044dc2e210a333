"""Processes that are stopped and continued, clocks that are set: the run waits, and its results are the same."""

from pathlib import Path

import pytest

from fedsim.main import main
from support.forked_ranks import forked_ranks
from support.runs import RUN, assert_same, nothing_is_left, status

ROUNDS = 3
OPTIONS = [*RUN, f"rounds={ROUNDS}", "tracking.tensorboard=false"]

PAUSE = """
import os, signal, subprocess, time
from fedsim.records.phases import Phases

begin, now = Phases.__call__, time.time

def pausing(self, name):
    if name == "evaluate" and os.environ["RANK"] == "{rank}" and not os.path.exists("{marker}"):
        open("{marker}", "w").close()
        time.time = lambda: now() {jump}
        subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {{os.getpid()}}"])
        os.kill(os.getpid(), signal.SIGSTOP)
    return begin(self, name)

Phases.__call__ = pausing
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main([*OPTIONS, f"output_dir={folder}"]) == 0
    return folder


@pytest.mark.parametrize(("rank", "jump"), [(0, "- 86400"), (1, "+ 86400")])
def test_a_rank_that_is_stopped_for_a_while_wakes_up_and_goes_on(
    tmp_path: Path, undisturbed: Path, rank: int, jump: str
) -> None:
    plugin, marker = tmp_path / "pause.py", tmp_path / "paused"
    plugin.write_text(PAUSE.format(rank=rank, marker=marker, jump=jump))
    more = ["--plugin", str(plugin), "runtime.timeout=60", "runtime.check_every=1", f"output_dir={tmp_path}"]
    done = forked_ranks(2, *OPTIONS, *more)
    assert done.status == 0, done.err
    assert marker.exists()
    assert status(tmp_path) == "completed"
    assert_same(tmp_path, undisturbed, ROUNDS)
    nothing_is_left(tmp_path)
