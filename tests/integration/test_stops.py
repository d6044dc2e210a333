"""Runs that are stopped, killed, or diverge: nothing is lost, and what happened is said."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from fedsim.main import main
from support.forked_ranks import forked_ranks
from support.runs import (
    RUN,
    assert_same,
    children,
    command,
    final_state,
    lines,
    nothing_is_left,
    start,
    start_and_hold,
    status,
    wait_for_rounds,
)
from support.users import another_user


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert main(command(1, folder)[2:]) == 0
    return folder


def test_torchrun_when_stopped_leaves_a_checkpoint_and_resumes_to_the_same_bits(
    tmp_path: Path, uninterrupted: Path
) -> None:
    process = start_and_hold(2, tmp_path, 4)
    wait_for_rounds(process, tmp_path, 4)  # round 3 has a checkpoint of its own, round 4 has none
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert f"nothing is lost: --resume {tmp_path}/run continues" in err
    assert status(tmp_path) == "interrupted"
    done = len(lines(tmp_path))
    assert (tmp_path / "run" / "checkpoints" / f"round_{done:06d}.safetensors").exists()
    resumed = forked_ranks(3, *command(3, tmp_path, "--resume")[6:])
    assert resumed.status == 0, resumed.err
    assert f"resumed after round {done}" in resumed.err
    assert status(tmp_path) == "completed"
    assert_same(tmp_path, uninterrupted)


def test_one_process_that_is_stopped_says_so_by_its_status(tmp_path: Path, uninterrupted: Path) -> None:
    process = start_and_hold(1, tmp_path, 2)
    wait_for_rounds(process, tmp_path, 2)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert status(tmp_path) == "interrupted"
    assert main(command(1, tmp_path, "--resume")[2:]) == 0
    assert_same(tmp_path, uninterrupted)


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    plugin = tmp_path / "slow.py"
    plugin.write_text(
        "import time\n"
        "from fedsim.aggregators import Aggregator, aggregators\n"
        "@aggregators.register('slow')\n"
        "class Slow(Aggregator):\n"
        "    'Sleeps.'\n"
        "    def aggregate(self, updates, context):\n"
        "        (open('started', 'w')).close()\n"
        "        time.sleep(60)\n"
    )
    slow = command(1, tmp_path, "--plugin", str(plugin), "aggregator={name: slow}")
    process = subprocess.Popen(slow, cwd=tmp_path, stderr=subprocess.DEVNULL)
    while not (tmp_path / "started").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # as SLURM and torchrun together send it
    time.sleep(1.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=40) == 128 + signal.SIGTERM


def kill_and_resume(folder: Path, kills: int, seed: int, *options: str) -> list[str]:
    """Kill one of three ranks, or torchrun itself with all of them, at random moments, and go on each time.

    Returns:
        What was said of each death.
    """
    draws, said = random.Random(seed), []
    for number in range(kills):
        process = start(3, folder, *options, *(["--resume"] if number else []))
        started = time.time()
        wait_until_it_works(process, folder, started)
        time.sleep(draws.expovariate(1 / 0.8))  # local work, gather, aggregation, checkpoint, ...
        victims = children(process)
        with suppress(ProcessLookupError):  # it has just finished
            if draws.random() < 0.75 and victims:
                os.kill(draws.choice(victims), signal.SIGKILL)
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        nothing_is_left(folder)
        note = folder / "run" / "failure.txt"
        said.append(note.read_text().strip() if note.exists() else "all were killed, or it had finished")
    process = start(2, folder, *options, "--resume")
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    return said


def wait_until_it_works(process: subprocess.Popen[str], folder: Path, since: float) -> None:
    """Until the round after the start or resumption has begun."""
    facts = folder / "run" / "environment.json"
    until = time.monotonic() + 60
    while process.poll() is None and not (facts.exists() and facts.stat().st_mtime >= since):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow  # without torchrun: tests/fuzz/test_kills.py
@pytest.mark.timeout(1200)
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    kills, rounds = 20, 60
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    said = kill_and_resume(killed, kills, 1, f"rounds={rounds}")
    sys.stdout.write("\n".join(said))  # shown by pytest -rP
    assert main([*command(1, whole)[2:], f"rounds={rounds}"]) == 0
    assert_same(killed, whole, rounds)


DIVERGES = [*RUN, "aggregator={name: fedavg}", "server.optimizer={name: sgd, lr: 9e37}", "attack=[]"]
DIVERGES += ["clients.optimizer={name: sgd, lr: 1000.0}"]


def test_a_run_that_diverges_stops_with_its_last_good_checkpoint(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*DIVERGES, f"output_dir={tmp_path}", "rounds=5", "checkpoint.every=1"]) == 3
    assert "diverged: after round" in capfd.readouterr().err
    assert status(tmp_path) == "diverged"
    done = len(lines(tmp_path))
    assert done < 5
    assert not (tmp_path / "run" / "checkpoints" / f"round_{done:06d}.safetensors").exists()
    if done > 1:
        assert final_state(tmp_path / "run", done - 1).isfinite().all()


def test_a_run_may_be_set_to_go_on_whatever_happens_but_does_not_count_as_completed(tmp_path: Path) -> None:
    options = [f"output_dir={tmp_path}", "rounds=4", "runtime.on_divergence=continue"]
    assert main([*DIVERGES, *options]) == 3
    assert len(lines(tmp_path)) == 4
    assert status(tmp_path) == "diverged"


ATTACKED = ["aggregator={name: fedavg}", "attack={name: scaling, num_byzantine: 1, factor: 1e30}"]


@pytest.mark.parametrize("every", [1, 9])
def test_a_loss_that_is_no_number_and_updates_that_are_none_are_divergence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], every: int
) -> None:
    """The global model stays finite: its loss does not, nor does any update that starts from it."""
    options = [*RUN, *ATTACKED, f"output_dir={tmp_path}", "rounds=9", f"evaluation.every={every}"]
    assert main(options) == 3
    said = capfd.readouterr().err
    assert ("the loss on the test data is NaN" if every == 1 else "every honest client's update contains NaN") in said
    assert status(tmp_path) == "diverged"
    assert len(lines(tmp_path)) < 4


def test_finite_rows_of_attackers_do_not_hide_that_no_honest_row_is_finite(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ALIE makes rows of zeros where no honest row is left that it could hide among."""
    attacked = ["aggregator={name: fedavg}", "attack={name: alie, num_byzantine: 1, z: 1e30}"]
    assert main([*RUN, *attacked, f"output_dir={tmp_path}", "rounds=9", "evaluation.every=9"]) == 3
    assert "every honest client's update contains NaN" in capfd.readouterr().err
    assert json.loads(lines(tmp_path)[-1])["nonfinite_clients"] == [0, 1, 2]
    assert status(tmp_path) == "diverged"


def test_rounds_for_which_only_byzantine_clients_were_drawn_are_no_divergence(tmp_path: Path) -> None:
    overrides = ["attack={name: nonfinite, num_byzantine: 1}", "clients.fraction=0.3", "rounds=6"]
    assert main([*RUN, *overrides, f"output_dir={tmp_path}"]) == 0
    assert any(json.loads(line)["nonfinite_clients"] == [3] for line in lines(tmp_path))
    assert status(tmp_path) == "completed"


def test_two_runs_never_share_a_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = start(1, tmp_path, "rounds=500")
    wait_for_rounds(process, tmp_path, 1)
    assert main([*RUN, f"output_dir={tmp_path}", "rounds=500", "--resume"]) == 2
    assert f"is in use by process {process.pid} on " in capfd.readouterr().err
    process.kill()
    process.communicate()
    assert main([*RUN, f"output_dir={tmp_path}", "rounds=2", "--resume"]) == 0  # the kernel has taken the lock back


def test_a_full_disk_is_one_sentence_and_harms_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(tensors: Any, path: Path, metadata: dict[str, str]) -> None:
        if metadata["round"] == "6":
            raise OSError(28, "No space left on device", str(path))
        save_file(tensors, path, metadata)

    monkeypatch.setattr("fedsim.run_directory.checkpoint.save_file", full)
    assert main(command(1, tmp_path)[2:]) == 1
    err = capfd.readouterr().err
    assert "failed in phase 'checkpoint': cannot write a checkpoint to " in err
    assert "No space left on device" in err
    assert status(tmp_path) == "failed"
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["round_000003.safetensors"]
    monkeypatch.undo()
    assert main(command(1, tmp_path, "--resume")[2:]) == 0


def test_a_directory_that_cannot_be_written_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        assert main([*RUN, f"output_dir={folder}", "rounds=1"]) == 0
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        capfd.readouterr()
        with another_user():
            for resume, key in (([], "output_dir: cannot make"), (["--resume"], "output_dir: cannot write")):
                assert main([*RUN, f"output_dir={folder}", "rounds=2", *resume]) == 2
                err = capfd.readouterr().err
                assert f"fedsim: configuration error: {key}" in err
                assert "Traceback" not in err
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    finally:
        shutil.rmtree(folder)


def test_a_signal_while_the_run_starts_is_no_death(tmp_path: Path) -> None:
    plugin = tmp_path / "slow_start.py"
    plugin.write_text(
        "import os, time\n"
        "import fedsim.build.parts as parts\n"
        "real = parts.ModelRows\n"
        "def slow(model):\n"
        "    open(f'{os.environ[\"STARTED\"]}/{os.environ[\"RANK\"]}', 'w').close()\n"
        "    time.sleep(60)\n"
        "parts.ModelRows = slow\n"
    )
    started = tmp_path / "started"
    started.mkdir()
    process = start(2, tmp_path, "--plugin", str(plugin), variables={"STARTED": str(started)})
    until = time.monotonic() + 120
    while len(list(started.iterdir())) < 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=50)
    assert "died" not in err
    assert err.count("fedsim: stopped by a signal before the first round") <= 1  # none, if both ended at once
    nothing_is_left(tmp_path)
