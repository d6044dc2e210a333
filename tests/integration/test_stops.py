"""Runs that are stopped, killed, or diverge: nothing is lost, and what happened is said."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import MAIN, final_state

from fedsim.main import main

ROUNDS = 8
RUN = [
    "data={name: synthetic, num_train: 2000, num_test: 300, num_classes: 4, shape: [1, 20, 20], spread: 2.0}",
    "model={name: small_cnn, width: 8, hidden: 16, batch_norm: true, dropout: 0.2}",
    "clients.count=4",
    "clients.momentum=0.5",
    "clients.optimizer={name: sgd, lr: 0.05}",
    "attack={name: mimic, num_byzantine: 1}",
    "aggregator={name: fedseca, momentum: 0.5}",
    "checkpoint.every=3",
    "run_name=run",
]


def command(ranks: int, folder: Path, *more: str) -> list[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks > 1 else []
    return [sys.executable, *launcher, str(MAIN), *RUN, f"rounds={ROUNDS}", f"output_dir={folder}", *more]


def start(ranks: int, folder: Path, *more: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "OMP"))}
    return subprocess.Popen(
        command(ranks, folder, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def lines(folder: Path) -> list[str]:
    path = folder / "run" / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def wait_for_rounds(process: subprocess.Popen[str], folder: Path, rounds: int) -> None:
    deadline = time.monotonic() + 120
    while len(lines(folder)) < rounds:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def records(folder: Path) -> list[dict]:
    return [{key: value for key, value in json.loads(line).items() if key != "times"} for line in lines(folder)]


def status(folder: Path) -> str:
    return json.loads((folder / "run" / "summary.json").read_text())["status"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert main(command(1, folder)[2:]) == 0
    return folder


def assert_same(folder: Path, other: Path) -> None:
    assert torch.equal(final_state(folder / "run", ROUNDS), final_state(other / "run", ROUNDS))
    assert records(folder) == records(other)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The ranks that torchrun has started."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def test_torchrun_told_to_stop_leaves_a_checkpoint_and_resumes_to_the_same_bits(
    tmp_path: Path, uninterrupted: Path
) -> None:
    process = start(3, tmp_path)
    wait_for_rounds(process, tmp_path, 4)  # round 3 has a checkpoint of its own, round 4 has none
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "nothing is lost: --resume continues" in err
    assert status(tmp_path) == "interrupted"
    done = len(lines(tmp_path))
    assert (tmp_path / "run" / "checkpoints" / f"round_{done:06d}.safetensors").exists()
    resumed = start(2, tmp_path, "--resume")
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    assert f"resumed after round {done}" in err
    assert status(tmp_path) == "completed"
    assert_same(tmp_path, uninterrupted)


def test_one_process_told_to_stop_says_so_by_its_status(tmp_path: Path, uninterrupted: Path) -> None:
    process = start(1, tmp_path)
    wait_for_rounds(process, tmp_path, 2)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert status(tmp_path) == "interrupted"
    again = start(1, tmp_path, "--resume")
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
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
    assert process.wait(timeout=5) == 128 + signal.SIGTERM


def kill_and_resume(folder: Path, kills: int, seed: int) -> None:
    """Kill one of three ranks, or torchrun itself with all of them, at random moments, and go on each time."""
    draws = random.Random(seed)
    for number in range(kills):
        process = start(3, folder, *(["--resume"] if number else []))
        time.sleep(draws.uniform(3, 8))  # start-up, local work, gather, aggregation, checkpoint, end
        victims = children(process)
        with suppress(ProcessLookupError):  # it has just finished
            if draws.random() < 0.5 and victims:
                os.kill(draws.choice(victims), signal.SIGKILL)
            else:
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        for pid in victims:
            wait_until_gone(pid)
    process = start(2, folder, "--resume")
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0, err


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 40
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("kills", "seed"), [(3, 0), pytest.param(20, 1, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_kills_at_random_moments_change_nothing(tmp_path: Path, uninterrupted: Path, kills: int, seed: int) -> None:
    kill_and_resume(tmp_path, kills, seed)
    assert_same(tmp_path, uninterrupted)
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("fedsim")]


DIVERGES = [*RUN, "aggregator={name: fedavg}", "server.optimizer={name: sgd, lr: 3e38}", "attack=[]"]
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


def test_a_run_may_be_told_to_go_on_whatever_happens(tmp_path: Path) -> None:
    options = [f"output_dir={tmp_path}", "rounds=4", "runtime.on_divergence=continue"]
    assert main([*DIVERGES, *options]) == 0
    assert len(lines(tmp_path)) == 4


def test_two_runs_never_share_a_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = start(1, tmp_path, "rounds=500")
    wait_for_rounds(process, tmp_path, 1)
    assert main([*RUN, f"output_dir={tmp_path}", "rounds=500", "--resume"]) == 2
    assert f"is in use by process {process.pid} on " in capfd.readouterr().err
    process.kill()
    process.communicate()
    assert main([*RUN, f"output_dir={tmp_path}", "rounds=2", "--resume"]) == 0  # the kernel has taken the lock back


def test_a_full_disk_is_one_sentence_and_harms_no_checkpoint(tmp_path: Path) -> None:
    plugin = tmp_path / "full.py"
    plugin.write_text(
        "import fedsim.checkpoint as checkpoint\n"
        "real = checkpoint.save_file\n"
        "def full(tensors, path, metadata):\n"
        "    if metadata['round'] == '6':\n"
        "        raise OSError(28, 'No space left on device', str(path))\n"
        "    real(tensors, path, metadata)\n"
        "checkpoint.save_file = full\n"
    )
    process = start(2, tmp_path, "--plugin", str(plugin))
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "rank 0 failed in phase 'checkpoint'" in err
    assert "No space left on device" in err
    assert status(tmp_path) == "failed"
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["round_000003.safetensors"]
    again = start(1, tmp_path, "--resume")
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
