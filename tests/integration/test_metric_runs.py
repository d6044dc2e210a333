"""Runs with further metrics: a user's own by --plugin, resumed, and failing."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fedsim.evaluation.metrics import Metric, Predictions, metrics
from fedsim.main import main
from support.launch import ROOT

SMALL = [
    "data={name: synthetic, num_train: 100, num_test: 23, num_classes: 3, shape: [1, 4, 4]}",
    "model={name: mlp, hidden: [4]}",
    "clients.count=5",
    "attack={name: scaling, num_byzantine: 1, factor: 7.0}",
    "aggregator={name: cwmed}",
    "tracking.tensorboard=false",
    "run_name=run",
]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]


def test_the_metrics_of_the_page_run_as_they_stand_and_are_resumed(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    plugin = tmp_path / "my_metrics.py"
    plugin.write_text(example)
    chosen = "evaluation={every: 2, metrics: [{name: unsure, below: 0.6}, {name: lengths}, {name: unsure}]}"
    whole, parts = (tmp_path / name for name in ("whole", "parts"))
    assert main([*SMALL, "--plugin", str(plugin), chosen, "rounds=4", f"output_dir={whole}"]) == 0
    assert main([*SMALL, chosen, "rounds=2", f"output_dir={parts}"]) == 0
    assert main([*SMALL, chosen, "rounds=4", f"output_dir={parts}", "--resume"]) == 0
    found = [line["metrics"] for line in lines(whole)]
    assert [line["metrics"] for line in lines(parts)] == found
    assert found[0].keys() == {"lengths"}  # a round without evaluation
    of_one = {"all", "0", "1", "2"}
    assert found[1].keys() == {"lengths", *(f"{name}.{of}" for name in ("unsure", "unsure_2") for of in of_one)}
    assert all(0 <= found[3][f"unsure_2.{of}"] <= found[3][f"unsure.{of}"] <= 1 for of in of_one)
    norms = lines(whole)[0]["clients"]["update_norm"]
    honest = [norms[str(client)] for client in range(4)]
    assert found[0]["lengths"] == pytest.approx(norms["4"] / (sum(honest) / 4))
    summaries = [json.loads((folder / "run" / "summary.json").read_text())["metrics"] for folder in (whole, parts)]
    assert summaries[0] == summaries[1]
    lengths = [of_round["lengths"] for of_round in found]
    assert summaries[0]["lengths"] == {"final": lengths[3], "smallest": min(lengths), "largest": max(lengths)}


class Broken(Metric):
    """Raises."""

    name = "broken"

    def of_predictions(self, predictions: Predictions) -> float:
        raise RuntimeError("no such thing")


def test_a_metric_that_raises_ends_the_run_with_its_name_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(metrics._entries, "broken", Broken)
    assert main([*SMALL, "evaluation.metrics=[{name: broken}]", "rounds=1", f"output_dir={tmp_path}"]) == 1
    said = capfd.readouterr().err
    assert re.search(
        r"failed in phase 'evaluate': metric 'broken' \(test_metric_runs.py, line \d+\) raised RuntimeError: no such "
        r"thing \(traceback in logs/rank_0.log\)",
        said,
    )


def test_settings_that_do_not_fit_the_data_are_named_before_the_first_round(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for more in (["--check"], []):
        assert main([*SMALL, "evaluation.metrics=[{name: top_k}]", f"output_dir={tmp_path}", *more]) == 2
        said = capfd.readouterr().err
        assert "evaluation.metrics.0.k: the class is always among 5 of 3; give at most 2" in said
    assert main([*SMALL, "evaluation.metrics=[{name: top_1}]", f"output_dir={tmp_path}"]) == 2
    assert "evaluation.metrics.0.name: unknown metric 'top_1'; did you mean 'top_k'?" in capfd.readouterr().err
