"""Tests of my_pre_aggregator.py: pytest test_my_pre_aggregator.py."""

from pathlib import Path

import torch

from fedsim.aggregators import RoundContext, UpdateMatrix
from fedsim.aggregators.pre import pre_aggregators
from fedsim.main import main
from fedsim.plugins import load_plugin

PLUGIN = Path(__file__).with_name("my_pre_aggregator.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"


def test_long_rows_are_shortened() -> None:
    pre = pre_aggregators.build("my_pre_aggregator", factor=2.0)
    rows, context = pre(UpdateMatrix(torch.tensor([[1.0], [-2.0], [-90.0]])), RoundContext.of(3))
    assert rows.tensor().flatten().tolist() == [1.0, -2.0, -4.0]
    assert context.client_ids == (0, 1, 2)


def test_a_run_uses_it(tmp_path: Path) -> None:
    pre = "aggregator.pre=[{name: my_pre_aggregator}]"
    options = [DATA, "model={name: mlp}", pre, "rounds=2", f"output_dir={tmp_path}"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
