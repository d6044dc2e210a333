"""The communicator over real gloo ranks."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import MAIN, torchrun

RANKS = Path(__file__).with_name("ranks.py")


def test_every_transport_brings_to_rank_0_what_three_ranks_wrote() -> None:
    """One launch for all scenarios, because starting ranks is most of the time."""
    done = torchrun(3, "shared", "point_to_point", "no_room", "one_rank_cannot_map", "exchange", script=RANKS)
    assert done.status == 0, done.err


def test_a_barrier_names_the_missing_rank_and_the_phase() -> None:
    done = torchrun(3, "missing", script=RANKS)
    said = [line for line in done.err.splitlines() if line.startswith("rank 0 says")]
    assert len(said) == 1
    assert "phase 'gather'" in said[0]
    assert re.search(r"[Rr]anks? 1\b", said[0]), said[0]


def test_a_killed_rank_ends_the_run_within_seconds(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3", str(MAIN)]
    run = subprocess.Popen(
        [
            *command,
            "rounds=500",
            f"output_dir={tmp_path}",
            "run_name=killed",
            "clients.count=3",
            "attack={name: none}",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    metrics = tmp_path / "killed" / "metrics.jsonl"
    for _ in range(600):
        if metrics.exists() and metrics.stat().st_size > 0:
            break
        time.sleep(0.1)
    victims = subprocess.run(["pgrep", "-P", str(run.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(victims[2]), signal.SIGKILL)
    started = time.monotonic()
    _, err = run.communicate(timeout=60)
    assert time.monotonic() - started < 20
    assert run.returncode != 0
    assert metrics.stat().st_size > 0  # it was killed at work, not while starting
    # So far it is torchrun that names the rank; a sentence of ours is for the work on failures.
    assert "(exitcode: -9) local_rank: 2" in err, err


def test_a_rank_that_drifts_is_named(tmp_path: Path) -> None:
    plugin = tmp_path / "drift.py"
    plugin.write_text(
        "import os\n"
        "from fedsim.simulation import Simulation\n"
        "evaluate = Simulation._evaluate\n"
        "def drifting(self, done):\n"
        "    if os.environ['RANK'] == '1' and done == 2:\n"
        "        self.state[5] += 1e-6\n"
        "    return evaluate(self, done)\n"
        "Simulation._evaluate = drifting\n"
    )
    options = ["data={name: synthetic}", "model={name: mlp}", "rounds=9", "runtime.check_every=3"]
    done = torchrun(3, "--plugin", str(plugin), *options, f"output_dir={tmp_path}", "run_name=drift")
    assert done.status != 0
    assert done.err.count("after round 3 ranks [1] hold other parameters than rank 0") == 1, done.err
    assert 'main.py", line' not in done.err
