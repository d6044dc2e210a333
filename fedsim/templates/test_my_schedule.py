"""Tests of my_schedule.py: pytest test_my_schedule.py."""

from pathlib import Path

from fedsim.main import main
from fedsim.plugins import load_plugin
from fedsim.training.schedules import schedules

PLUGIN = Path(__file__).with_name("my_schedule.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"


def test_it_follows_the_formula() -> None:
    schedule = schedules.build("my_schedule", power=0.5)
    assert [schedule.factor(round_index) for round_index in (0, 3, 99)] == [1.0, 0.5, 0.1]


def test_a_run_uses_it(tmp_path: Path) -> None:
    schedule = "clients.schedule={name: my_schedule}"
    options = [DATA, "model={name: mlp}", schedule, "rounds=2", f"output_dir={tmp_path}"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
