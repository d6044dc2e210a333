"""Every attack in a run: against FedSECA and the trimmed mean, with buffers, resumed, mixed and scheduled."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsim.attacks import available_attacks
from fedsim.main import main
from support.forked_ranks import forked_ranks
from support.runs import final_state

SMALL = [
    "data={name: synthetic, num_train: 300, num_test: 100, num_classes: 4, shape: [1, 16, 16]}",
    "model={name: small_cnn, width: 4, hidden: 16, batch_norm: true}",
    "clients.count=6",
    "tracking.tensorboard=false",
    "checkpoint.keep=9",
]
MIXTURE = [
    "attack=[{name: label_flip, clients: [0]}, {name: mimic, num_byzantine: 2, redraw_every: 1, last_round: 3},"
    " {name: opt_alie, num_byzantine: 2, first_round: 4}]",
    "aggregator={name: cwtm}",
    "clients.count=8",
    "clients.fraction=0.8",
]


def records_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("aggregator", ["fedseca", "cwtm"])
@pytest.mark.parametrize("attack", list(available_attacks()))
def test_every_attack_runs_against_fedseca_and_the_trimmed_mean(attack: str, aggregator: str, tmp_path: Path) -> None:
    options = [f"attack={{name: {attack}, num_byzantine: 2}}", f"aggregator={{name: {aggregator}}}", "rounds=2"]
    assert main([*SMALL, *options, f"output_dir={tmp_path}", "run_name=run"]) == 0
    for record in records_of(tmp_path / "run"):
        assert record["attack"]["attackers"] == {"4": attack, "5": attack}
        assert record["attack"]["share"] == pytest.approx(1 / 3)
        assert all(value is not None for value in record["attack"]["parameters"][attack].values())
    assert bool(final_state(tmp_path / "run", 2).isfinite().all())


def test_a_mixture_with_a_schedule_gives_the_same_bits_on_three_ranks_and_resumed(tmp_path: Path) -> None:
    options = [*SMALL, *MIXTURE, f"output_dir={tmp_path}"]
    assert main([*options, "run_name=whole", "rounds=5"]) == 0
    done = forked_ranks(3, *options, "run_name=parts", "rounds=2")
    assert done.status == 0, done.err
    assert main([*options, "run_name=parts", "rounds=5", "--resume"]) == 0
    assert torch.equal(final_state(tmp_path / "whole", 5), final_state(tmp_path / "parts", 5))
    whole, parts = records_of(tmp_path / "whole"), records_of(tmp_path / "parts")
    assert [record["attack"] for record in whole] == [record["attack"] for record in parts]
    kinds = [sorted(set(record["attack"]["attackers"].values()) - {"label_flip"}) for record in whole]
    assert all(found in ([], ["mimic"]) for found in kinds[:3])
    assert all(found in ([], ["opt_alie"]) for found in kinds[3:])
    assert ["mimic"] in kinds
    assert ["opt_alie"] in kinds
