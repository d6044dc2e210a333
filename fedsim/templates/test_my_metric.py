"""Tests of my_metric.py: pytest test_my_metric.py."""

import json
from pathlib import Path

import torch

from fedsim.evaluation.metrics import Predictions, metrics
from fedsim.main import main
from fedsim.plugins import load_plugin

PLUGIN = Path(__file__).with_name("my_metric.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"


def test_it_counts_what_is_sure() -> None:
    predictions = Predictions(
        logits=torch.tensor([[9.0, 0.0], [0.0, 9.0], [0.1, 0.0]]),
        labels=torch.tensor([0, 0, 0]),
        owners=torch.full((3,), -1),
        class_names=("cat", "dog"),
    )
    found = metrics.build("my_metric", limit=0.8).of_predictions(predictions)
    assert isinstance(found, dict)
    assert {name: round(float(value), 4) for name, value in found.items()} == {"sure": 0.6667, "right": 0.5}


def test_a_run_records_it(tmp_path: Path) -> None:
    metric = "evaluation.metrics=[{name: my_metric}]"
    options = [DATA, "model={name: mlp}", metric, "rounds=2", f"output_dir={tmp_path}", "run_name=run"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert set(json.loads(lines[-1])["metrics"]) == {"my_metric.sure", "my_metric.right"}
