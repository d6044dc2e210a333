"""Tests of my_attack.py: pytest test_my_attack.py."""

from pathlib import Path

import torch

from fedsim.aggregators import UpdateMatrix
from fedsim.attacks import AttackView, build_attack
from fedsim.main import main
from fedsim.plugins import load_plugin

PLUGIN = Path(__file__).with_name("my_attack.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"

OWN = UpdateMatrix(torch.zeros(1, 2))
FIRST = AttackView(honest=UpdateMatrix(torch.tensor([[1.0, 2.0], [3.0, 4.0]])), own=OWN)
SECOND = AttackView(honest=UpdateMatrix(torch.tensor([[0.0, 1.0]])), own=OWN)


def test_rows_follow_the_formula() -> None:
    attack = build_attack("my_attack", strength=2.0, fade=0.5)
    assert attack(FIRST).tolist() == [[-4.0, -6.0]]  # m = (2, 3)
    assert attack(SECOND).tolist() == [[-2.0, -4.0]]  # m = (1, 2)


def test_a_resumed_run_goes_on_with_the_same_rows() -> None:
    attack, resumed = build_attack("my_attack"), build_attack("my_attack")
    attack(FIRST)
    resumed.load_state_dict(attack.state_dict())
    assert torch.equal(resumed(SECOND), attack(SECOND))


def test_a_run_uses_it(tmp_path: Path) -> None:
    attack = "attack={name: my_attack, num_byzantine: 1}"
    options = [DATA, "model={name: mlp}", attack, "rounds=2", f"output_dir={tmp_path}"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
