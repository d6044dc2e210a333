"""Tests of my_aggregator.py: pytest test_my_aggregator.py."""

from pathlib import Path

import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.errors import ConfigError
from fedsim.main import main
from fedsim.plugins import load_plugin

PLUGIN = Path(__file__).with_name("my_aggregator.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"

ROWS = torch.tensor([[1.0], [2.0], [3.0], [90.0]])


def test_the_furthest_row_is_left_out() -> None:
    aggregator = build_aggregator("my_aggregator", num_byzantine=1)
    assert aggregator(ROWS).tolist() == [2.0]
    assert aggregator.diagnostics.trust.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_a_client_that_was_left_out_counts_less_later() -> None:
    aggregator = build_aggregator("my_aggregator", num_byzantine=1, memory=0.5)
    aggregator(ROWS)
    aggregator(torch.tensor([[90.0], [2.0], [3.0], [4.0]]))
    assert aggregator.diagnostics.trust.tolist() == [0.0, 1.0, 1.0, 0.5]


def test_too_many_byzantine_clients_are_refused() -> None:
    with pytest.raises(ConfigError, match="the most it allows is 1"):
        build_aggregator("my_aggregator", num_byzantine=2)(ROWS)


def test_a_run_uses_it(tmp_path: Path) -> None:
    aggregator = "aggregator={name: my_aggregator, num_byzantine: oracle}"
    options = [DATA, "model={name: mlp}", aggregator, "rounds=2", f"output_dir={tmp_path}"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
