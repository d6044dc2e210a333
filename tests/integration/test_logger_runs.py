"""Runs with loggers: in this process, with a stand-in for Weights & Biases, stopped and resumed."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from fedsim.main import main
from fedsim.records.writers import read_records
from fedsim.results.frames import metrics_frame
from support.fake_loggers import fake_wandb
from support.runs import final_state

SMALL = [
    "data={name: synthetic, num_train: 100, num_test: 23, num_classes: 3, shape: [1, 4, 4]}",
    "model={name: mlp, hidden: [4]}",
    "clients.count=4",
    "attack={name: sign_flip, num_byzantine: 1}",
    "aggregator={name: cwmed}",
    "evaluation.every=2",
    "tracking.tensorboard=false",
    "run_name=run",
]


def test_loggers_follow_a_resumed_run_and_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = fake_wandb(monkeypatch)
    plain, logged = (tmp_path / name for name in ("plain", "logged"))
    assert main([*SMALL, "rounds=4", f"output_dir={plain}"]) == 0
    both = "tracking.loggers=[{name: csv}, {name: wandb, clients: true}]"
    assert main([*SMALL, both, "rounds=3", f"output_dir={logged}"]) == 0
    assert main([*SMALL, both, "rounds=4", f"output_dir={logged}", "--resume"]) == 0
    run = logged / "run"
    assert final_state(run, 4).tolist() == final_state(plain / "run", 4).tolist()
    with (run / "metrics.csv").open(newline="") as file:
        table = [{name: float(text or "nan") for name, text in row.items()} for row in csv.DictReader(file)]
    recorded = metrics_frame(read_records(run / "metrics.jsonl")).astype(float)
    pd.testing.assert_frame_equal(pd.DataFrame(table), recorded, check_exact=True)
    ((name, service),) = stored.items()
    assert json.loads((run / "loggers.json").read_text())["wandb"]["id"] == name
    assert service.rounds == [1, 2, 3, 4]
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[3])
    last = service.steps[3][1]
    assert last["accuracy"] == line["accuracy"] == service.facts["final_accuracy"]
    assert last["clients.update_norm.3"] == line["clients"]["update_norm"]["3"]
    assert service.options["config"]["clients"]["count"] == 4


def test_a_logger_that_fails_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_wandb(monkeypatch)
    monkeypatch.setattr("wandb.init", lambda **_: (_ for _ in ()).throw(ConnectionError("no route")))
    assert main([*SMALL, "tracking.loggers=[{name: wandb}]", "rounds=2", f"output_dir={tmp_path}"]) == 0
    warning = "tracking.loggers: wandb is switched off, the run goes on without it: ConnectionError: no route"
    assert capsys.readouterr().err.count(warning) == 1
    log = (tmp_path / "run" / "logs" / "rank_0.log").read_text()
    assert "Traceback" in log
