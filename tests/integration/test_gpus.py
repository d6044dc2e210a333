"""Ranks on a real GPU: one, and several that share it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fedsim.sweep.plan import read_sweep
from support import communicator_scenarios as scenarios
from support.forked_ranks import forked_ranks
from support.gloo_ranks import on_gloo_ranks
from support.launch import ROOT, Finished, clean_environment
from support.runs import RUN, assert_same, final_state
from support.sweeps import sweep_file

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

ROUNDS = 2


def run(folder: Path, ranks: int, *more: str) -> Finished:
    options = [f"rounds={ROUNDS}", "clients.count=8", "tracking.tensorboard=false", f"output_dir={folder}"]
    return forked_ranks(ranks, *RUN, *options, *more)


def plugin(folder: Path, *lines: str) -> list[str]:
    path = folder / "plugin.py"
    path.write_text("\n".join(lines) + "\n")
    return ["--plugin", str(path)]


def test_ranks_that_share_a_gpu_give_the_bits_of_one_rank(tmp_path: Path) -> None:
    for ranks in (1, 2, 8):
        done = run(tmp_path / str(ranks), ranks, "runtime.device=cuda")
        assert done.status == 0, done.err
        gpu = f"device: 1 GPU ({torch.cuda.get_device_name()}, "
        assert gpu in done.err
        assert (f" shared by {ranks} ranks\n" in done.err) == (ranks > 1)
    for ranks in (2, 8):
        assert_same(tmp_path / "1", tmp_path / str(ranks), ROUNDS)


def test_every_rank_of_a_gpu_serves_its_columns_with_the_bits_of_one_rank(tmp_path: Path) -> None:
    for ranks, sharded in ((1, "false"), (2, "true"), (3, "true")):
        done = run(tmp_path / str(ranks), ranks, "runtime.device=cuda", f"server.sharded={sharded}")
        assert done.status == 0, done.err
        assert "works whole" not in done.err
    for ranks in (2, 3):
        assert_same(tmp_path / "1", tmp_path / str(ranks), ROUNDS)


def test_cells_of_a_sweep_are_forked_and_have_the_bits_of_a_command(tmp_path: Path) -> None:
    folder = str(tmp_path / "runs")
    changes = {"rounds": ROUNDS, "tracking.tensorboard": False, "runtime.device": "cuda", "output_dir": folder}
    path = sweep_file(tmp_path, axes={"seed": [0, 1]}, set=changes)
    words = [sys.executable, "-m", "fedsim.sweep", str(path), "--jobs", "2", "--ranks", "1"]
    swept = subprocess.run(words, capture_output=True, text=True, env=clean_environment(), cwd=ROOT, timeout=200)
    assert swept.returncode == 0, swept.stdout + swept.stderr
    assert "starts as a command" not in swept.stdout
    for cell in read_sweep(path, []).cells:
        done = forked_ranks(1, f"--config={cell.directory / 'config.yaml'}", f"output_dir={tmp_path / 'again'}")
        assert done.status == 0, done.err
        again = tmp_path / "again" / cell.directory.name
        assert torch.equal(final_state(cell.directory, ROUNDS), final_state(again, ROUNDS))


def test_nccl_opens_and_carries_rows_as_far_as_one_gpu_shows() -> None:
    assert on_gloo_ranks(1, scenarios.nccl_of_one_rank) == [("NCCL", [0.0, 1.0, 2.0], [5.0, 6.0])]


def test_what_nccl_says_is_kept() -> None:
    for said in on_gloo_ranks(2, scenarios.nccl_with_two_ranks_on_a_gpu):
        assert said.startswith("phase 'connect GPUs': NCCL error")
        assert "; Duplicate GPU detected" in said
        assert "\n" not in said


def test_steps_reach_ranks_that_share_a_gpu() -> None:
    expected = ("shared memory of one host", [float(number) for number in range(20)])
    assert on_gloo_ranks(2, scenarios.steps_of_a_shared_gpu) == [expected] * 2


def test_a_rank_without_a_gpu_among_others_ends_the_run_with_one_sentence(tmp_path: Path) -> None:
    blind = plugin(
        tmp_path,
        "import os",
        "import fedsim.failures.handler",
        "fedsim.failures.handler.WAIT_FOR_RANK_0 = 0.5",  # torchrun would end rank 1 meanwhile
        "if os.environ['RANK'] == '1':",
        "    os.environ['CUDA_VISIBLE_DEVICES'] = ''",
    )
    done = run(tmp_path, 2, *blind)
    assert done.status == 2, done.err
    said = [line for line in done.err.splitlines() if line.startswith("fedsim: ")]
    assert len(said) == 2
    assert len(set(said)) == 1
    assert said[0].startswith("fedsim: configuration error: runtime.device: rank 1 (host ")
    assert "(CUDA_VISIBLE_DEVICES is empty)" in said[0]
    assert "Traceback" not in done.err


def test_a_gpu_without_room_is_named_in_one_sentence(tmp_path: Path) -> None:
    greedy = plugin(
        tmp_path,
        "import torch",
        "from fedsim.simulation import Simulation",
        "Simulation._train = lambda *ours: torch.empty(1 << 43, dtype=torch.uint8, device='cuda')",
    )
    done = run(tmp_path, 1, *greedy)
    assert done.status == 1
    said = [line for line in done.err.splitlines() if "failed" in line]
    assert len(said) == 1, done.err
    assert f"failed in phase 'local_work': cuda:0 ({torch.cuda.get_device_name()}): CUDA out of memory: " in said[0]
    assert "; use fewer ranks on one GPU" in said[0]
    assert "Traceback" not in done.err


def test_an_index_out_of_range_on_the_gpu_is_one_sentence(tmp_path: Path) -> None:
    """Every later call on that GPU fails, too: what the sentence says of the GPU must not ask it."""
    wrong = plugin(
        tmp_path,
        "import torch",
        "from fedsim.simulation import Simulation",
        "def train(self, *ours):",
        "    labels = torch.tensor([7], device='cuda')",
        "    return torch.nn.functional.cross_entropy(torch.zeros(1, 3, device='cuda'), labels).item()",
        "Simulation._train = train",
    )
    done = run(tmp_path, 1, *wrong)
    assert done.status != 0
    said = [line for line in done.err.splitlines() if line.startswith("fedsim: rank 0")]
    assert len(said) == 1, done.err
    assert "device-side assert triggered; an index is out of range" in said[0]
