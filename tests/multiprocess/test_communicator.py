"""The communicator over real gloo ranks."""

import re
from pathlib import Path

from support.forked_ranks import forked_ranks
from support.launch import TESTS, torchrun

RANKS = TESTS / "support" / "ranks.py"


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


def test_a_rank_that_drifts_is_named(tmp_path: Path) -> None:
    plugin = tmp_path / "drift.py"
    plugin.write_text(
        "import os\n"
        "from fedsim.simulation import Simulation\n"
        "evaluate = Simulation._evaluate\n"
        "def drifting(self, evaluator, round_index):\n"
        "    if os.environ['RANK'] == '1' and round_index == 1:\n"
        "        self.model.state[5] += 1e-6\n"
        "    return evaluate(self, evaluator, round_index)\n"
        "Simulation._evaluate = drifting\n"
    )
    options = ["data={name: synthetic}", "model={name: mlp}", "rounds=9", "runtime.check_every=3"]
    done = forked_ranks(3, "--plugin", str(plugin), *options, f"output_dir={tmp_path}", "run_name=drift")
    assert done.status != 0
    said = re.findall(
        r"fedsim: rank 1 \(host .*, process \d+\), host of clients .* has drifted: after round 3", done.err
    )
    assert len(said) == 1, done.err
    assert done.err.count("drifted") == 1
    assert 'main.py", line' not in done.err
