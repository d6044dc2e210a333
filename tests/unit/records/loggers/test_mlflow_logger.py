"""MLflow: what a stand-in is given, and the real one with a database, where it is installed."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from fedsim.records.loggers import LoggedRun, Logger, loggers
from support.fake_loggers import a_record, expected_numbers, fake_mlflow

SETTINGS = {"seed": 3, "attack": [{"name": "alie", "clients": [1, 2]}], "long": "x" * 9000}
FLAT = {"seed": "3", "attack.0.name": "alie", "attack.0.clients": "[1, 2]"}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")  # restored after the test


def started(folder: Path, known_as: str = "", **settings: Any) -> tuple[Logger, str]:
    logger = loggers.build("mlflow", **settings)
    run = LoggedRun(name="run", directory=folder, settings=SETTINGS, label="mlflow", known_as=known_as)
    return logger, logger.start(run)


def without_round(number: int) -> dict[str, float]:
    return {name: value for name, value in expected_numbers(number).items() if name != "round"}


def test_it_is_given_settings_rounds_and_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = fake_mlflow(monkeypatch)
    logger, name = started(tmp_path, tracking_uri="sqlite:///x.db")
    logger.log(a_record(1))
    logger.end("interrupted", {"best_accuracy": 0.5})
    again, same = started(tmp_path, name)
    again.log(a_record(2, metrics={"of a & b": 1.0}))
    again.end("diverged", {"best_accuracy": 0.25})
    (run,) = stored.values()
    assert same == name
    assert run.steps == [(1, without_round(1)), (2, {**without_round(2), "metrics.of a _ b": 1.0})]
    assert run.parameters == {**FLAT, "long": "x" * 500}
    assert (run.options["name"], run.options["uri"]) == ("run", "sqlite:///x.db")
    assert (run.facts["fedsim.status"], run.facts["fedsim.best_accuracy"]) == ("diverged", "0.25")
    assert run.ends == ["KILLED", "RUNNING", "FINISHED"]


def test_runs_of_one_experiment_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = fake_mlflow(monkeypatch)
    for experiment in ("a", "a", "b"):
        started(tmp_path, experiment=experiment)
    assert [run.options["experiment"] for run in stored.values()] == ["e0", "e0", "e1"]


@pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("sqlalchemy") is None,
    reason="needs the extra mlflow",
)
def test_the_real_one_with_a_database(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    address = f"sqlite:///{tmp_path}/runs.db"
    logger, name = started(tmp_path, tracking_uri=address)
    logger.log(a_record(1))
    logger.end("completed", {"best_accuracy": 0.1})
    again, _ = started(tmp_path, name, tracking_uri=address)
    again.log(a_record(2))
    again.end("completed", {"best_accuracy": 0.2})
    client = MlflowClient(tracking_uri=address)
    found = client.get_run(name)
    assert found.info.status == "FINISHED"
    assert found.data.params == {**FLAT, "long": "x" * 500}
    assert found.data.tags["fedsim.best_accuracy"] == "0.2"
    assert found.data.metrics == without_round(2)
    history = client.get_metric_history(name, "accuracy")
    assert sorted((one.step, one.value) for one in history) == [(1, 0.1), (2, 0.2)]
