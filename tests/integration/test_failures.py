"""A rank that dies, stops or throws: the run ends soon, one sentence says which and where, and nothing is left."""

import gc
import json
import os
import threading
import time
from pathlib import Path

import pytest
import torch

from fedsim.main import main
from support.forked_ranks import forked_ranks
from support.launch import TESTS
from support.runs import RUN, assert_same, command, final_state, nothing_is_left, start, status

FAULTS = TESTS / "support" / "faults.py"
PATIENCE, SOON = 12, 30
"""Seconds that ranks wait for one that is stopped; in which a run has ended, also where others work."""
OPTIONS = ["--plugin", str(FAULTS), "runtime.check_every=2"]
SLOW_LAUNCHER = ["--monitor-interval=3"]
"""The kernel knows the signal until torchrun cleans up, ten times a second by default: on a busy machine before the
other ranks have asked."""

SAYS = {
    "SIGKILL": "died in {place}: killed by SIGKILL",
    "SIGSTOP": "is late, in {place}: its process is stopped (SIGSTOP); rank ",
    "throw": "failed in {place}: ValueError: thrown on purpose",
}

FORKED = [("aggregate", 0, "SIGSTOP"), ("evaluate", 1, "throw")]
"""Without torchrun, which has a part only in what is known of a death: the signal."""

SHORT = [("client 0", 2, "SIGKILL"), *FORKED]
PLACES = [
    ("client 0", 2),  # hosts are chosen by work: see place_clients
    ("client 1", 0),
    ("gather", 0),
    ("gather", 2),
    ("attack", 0),
    ("aggregate", 0),
    ("broadcast", 0),
    ("broadcast", 1),
    ("evaluate", 2),
    ("record", 0),
    ("drift check", 1),
    ("checkpoint", 0),
]
LONG = [(*place, kind) for place in PLACES for kind in SAYS if (*place, kind) not in SHORT]


def about_the_failure(err: str) -> list[str]:
    """fedsim's own lines, but those about how the run starts and goes on."""
    normal = (
        "fedsim: run directory ",
        "fedsim: device: ",
        "fedsim: images are ",
        "fedsim: 3 ranks share ",
        "fedsim: 4 clients ",
        "fedsim: round ",
    )
    return [line for line in err.splitlines() if line.startswith("fedsim: ") and not line.startswith(normal)]


@pytest.mark.parametrize(
    ("place", "rank", "kind"), [*SHORT, *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG)]
)
def test_one_sentence_names_the_rank_and_where_it_was(tmp_path: Path, place: str, rank: int, kind: str) -> None:
    fault = {"FAULT": f"{place}:{rank}:{kind}:2", "FAULT_ONCE": str(tmp_path / "fault")}
    patience = PATIENCE if kind == "SIGSTOP" else 4 * SOON
    options = [*OPTIONS, f"runtime.timeout={patience}"]
    if (place, rank, kind) in FORKED:
        done = forked_ranks(3, *command(3, tmp_path, *options)[6:], variables=fault, seconds=100)
        failed, err = done.status, done.err
    else:
        process = start(3, tmp_path, *options, launcher=SLOW_LAUNCHER, variables=fault)
        _, err = process.communicate(timeout=120)
        failed = process.returncode
    ended = time.time()
    assert failed
    assert ended - (tmp_path / "fault").stat().st_mtime < SOON + PATIENCE * (kind == "SIGSTOP")
    said = about_the_failure(err)
    assert len(said) == 1, err
    (sentence,) = said
    assert sentence.startswith(f"fedsim: rank {rank} (host "), err
    where = f"phase 'local_work', {place}" if place.startswith("client") else f"phase '{place}'"
    assert SAYS[kind].format(place=where) in sentence
    assert 'main.py", line' not in err  # no traceback
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert f"fedsim: {summary['reason']}" == sentence
    nothing_is_left(tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert main(command(1, folder)[2:]) == 0
    return folder


def test_torchrun_starts_a_run_again_and_it_goes_on_by_itself(tmp_path: Path, uninterrupted: Path) -> None:
    fault = {"FAULT": "client 0:1:SIGKILL:6", "FAULT_ONCE": str(tmp_path / "fault")}
    process = start(2, tmp_path, "--plugin", str(FAULTS), launcher=["--max-restarts=1"], variables=fault)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "rank 1 (host " in err
    assert "resumed after round 3" in err
    assert status(tmp_path) == "completed"
    assert "reason" not in json.loads((tmp_path / "run" / "summary.json").read_text())
    assert_same(tmp_path, uninterrupted)


def test_a_new_launch_under_the_same_name_is_a_new_run(tmp_path: Path) -> None:
    for _ in range(2):
        assert main([*RUN, "rounds=1", f"output_dir={tmp_path}"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-2"]


def test_ranks_that_load_other_data_than_rank_0_are_named(tmp_path: Path) -> None:
    plugin = tmp_path / "other.py"
    plugin.write_text(
        "import os\n"
        "from fedsim.data.sources.synthetic import Synthetic\n"
        "load = Synthetic.load\n"
        "def other(self, root):\n"
        "    splits = load(self, root)\n"
        "    if os.environ['RANK'] == '1':\n"
        "        splits.train.inputs[0] += 1\n"
        "    return splits\n"
        "Synthetic.load = other\n"
    )
    done = forked_ranks(2, *command(2, tmp_path, "--plugin", str(plugin))[6:])
    said = about_the_failure(done.err)
    assert len(said) == 1, done.err
    (sentence,) = said
    assert sentence.startswith("fedsim: configuration error: data: rank 1 (host ")
    assert "loaded other data than rank 0" in sentence


def test_frozen_parameters_that_have_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = [*RUN, "model.freeze=['0.*']", f"output_dir={tmp_path}", "checkpoint.every=1"]
    assert main([*options, "rounds=1"]) == 0
    before = final_state(tmp_path / "run", 1)
    monkeypatch.setattr("fedsim.build.model.freeze", frozen_elsewhere)
    assert main([*options, "rounds=2", "--resume"]) == 1
    assert "was made with other frozen parameters" in capfd.readouterr().err
    monkeypatch.undo()
    assert torch.equal(final_state(tmp_path / "run", 1), before)
    assert main([*options, "rounds=2", "--resume"]) == 0


def frozen_elsewhere(model: torch.nn.Module, patterns: list[str]) -> None:
    """Freezes the same parameters, of other weights."""
    from fedsim.training.freezing import freeze

    freeze(model, patterns)
    next(model.parameters()).data += 1e-3


def test_runs_in_one_process_leave_no_file_and_no_thread_behind(tmp_path: Path) -> None:
    gc.collect()  # what earlier tests have left and nothing refers to

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    good, mistaken = [*RUN, "rounds=1", f"output_dir={tmp_path}"], [*RUN, "attack.name=nobody"]
    assert main(good) == 0
    before = held()
    for _ in range(2):
        assert main(good) == 0
        assert main(mistaken) == 2
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fedsim.simulation.Simulation._evaluate", lambda self, done: 1 / 0)
            assert main(good) == 1
    assert all(now <= then for now, then in zip(held(), before, strict=True))  # a thread of another test may end
