"""Runs whose ranks train several clients at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsim.main import main
from support.forked_ranks import forked_ranks
from support.runs import final_state

COMMON = [
    "data={name: synthetic, num_train: 210, num_test: 50, num_classes: 4, shape: [1, 16, 16], spread: 2.0}",
    "model={name: small_cnn, width: 4, hidden: 8}",
    "clients={count: 9, fraction: 0.8, batch_size: 8, momentum: 0.5, vectorize: 3}",
    "clients.optimizer={name: sgd, lr: 0.05}",
    "attack=[{name: label_flip, num_byzantine: 1}, {name: alie, num_byzantine: 2, first_round: 2}]",
    "aggregator={name: fedseca, momentum: 0.5}",
    "tracking.tensorboard=false",
]


def lines(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "times"} for record in records]


def test_neither_ranks_nor_a_resumption_change_a_bit(tmp_path: Path) -> None:
    """With seven clients a round in groups of three, ranks have one, two or all three groups, or clients of one."""
    common = [*COMMON, f"output_dir={tmp_path}"]
    assert main([*common, "rounds=4", "run_name=one"]) == 0
    three = forked_ranks(3, *common, "rounds=2", "run_name=moved")
    assert three.status == 0, three.err
    two = forked_ranks(2, *common, "rounds=4", "run_name=moved", "--resume")
    assert two.status == 0, two.err
    assert torch.equal(final_state(tmp_path / "one", 4), final_state(tmp_path / "moved", 4))
    assert lines(tmp_path / "one") == lines(tmp_path / "moved")


def test_a_run_is_that_of_one_client_after_another_but_for_rounding(tmp_path: Path) -> None:
    common = [*COMMON, f"output_dir={tmp_path}", "rounds=2", "aggregator={name: fedavg}", "attack=[]"]
    assert main([*common, "run_name=at_once"]) == 0
    assert main([*common, "run_name=in_turn", "clients.vectorize=1"]) == 0
    at_once, in_turn = (final_state(tmp_path / name, 2) for name in ("at_once", "in_turn"))
    assert torch.allclose(at_once, in_turn, atol=1e-5)
    for one, other in zip(lines(tmp_path / "at_once"), lines(tmp_path / "in_turn"), strict=True):
        assert one["clients"]["train_loss"] == pytest.approx(other["clients"]["train_loss"], rel=1e-4)


def test_another_number_of_clients_at_once_is_another_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    common = [*COMMON, f"output_dir={tmp_path}", "run_name=run"]
    assert main([*common, "rounds=1"]) == 0
    assert main([*common, "rounds=2", "clients.vectorize=4", "--resume"]) == 2
    assert "with other values of clients.vectorize" in capfd.readouterr().err


def test_a_model_that_cannot_is_refused_before_the_first_round(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMON, f"output_dir={tmp_path}", "run_name=run", "model.dropout=0.3"]) == 2
    assert "clients.vectorize: the module '3' (Dropout) draws at random" in capfd.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_run_gives_the_same_bits_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        options = [*COMMON, f"output_dir={tmp_path}", f"run_name={name}", "rounds=3", "runtime.device=cuda"]
        assert main(options) == 0
    assert torch.equal(final_state(tmp_path / "one", 3), final_state(tmp_path / "two", 3))
    assert lines(tmp_path / "one") == lines(tmp_path / "two")
