"""Weights & Biases: what a stand-in is given, and the real one, offline, where it is installed."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from fedsim.records.loggers import LoggedRun, Logger, loggers
from support.fake_loggers import a_record, expected_numbers, fake_wandb


def started(folder: Path, known_as: str = "", **settings: Any) -> tuple[Logger, str]:
    logger = loggers.build("wandb", **settings)
    run = LoggedRun(name="run", directory=folder, settings={"seed": 3}, label="wandb", known_as=known_as)
    return logger, logger.start(run)


def test_it_is_given_settings_rounds_and_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = fake_wandb(monkeypatch)
    logger, name = started(tmp_path, project="krum", tags=["a"], group="g", entity="me")
    logger.log(a_record(1))
    logger.end("failed", {"best_accuracy": 0.5})
    again, same = started(tmp_path, name)
    again.log(a_record(2))
    again.end("completed", {"best_accuracy": 0.25})
    (run,) = stored.values()
    assert same == name
    assert run.steps == [(1, expected_numbers(1)), (2, expected_numbers(2))]
    assert run.facts == {"status": "completed", "best_accuracy": 0.25}
    assert run.ends == [1, 0]
    said = {key: run.options[key] for key in ("project", "entity", "group", "tags", "name", "dir", "config")}
    place = {"name": "run", "dir": str(tmp_path), "config": {"seed": 3}}
    assert said == {"project": "krum", "entity": "me", "group": "g", "tags": ["a"], **place}


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs the extra wandb")
def test_the_real_one_offline(tmp_path: Path) -> None:
    assert "wandb" not in sys.modules or sys.modules["wandb"].__file__
    logger, name = started(tmp_path, mode="offline")
    logger.log(a_record(1))
    logger.end("completed", {"best_accuracy": 0.5})
    again, same = started(tmp_path, name, mode="offline")
    again.log(a_record(2))
    again.end("completed", {"best_accuracy": 0.5})
    assert same == name
    assert len(list(tmp_path.glob(f"wandb/offline-run-*-{name}/run-{name}.wandb"))) == 2
