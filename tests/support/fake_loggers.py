"""Stand-ins for Weights & Biases and MLflow that remember what they are given, and are as strict as the real ones."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from fedsim.records.round_record import AttackRecord, Quality, RoundRecord


def a_record(number: int, **changes: Any) -> RoundRecord:
    values: dict[str, Any] = {
        "quality": Quality(accuracy=number / 10, loss=float("inf")),
        "train_loss": float("nan"),
        "server": {"step_norm": 0.5, "detection_auc": None},
        "clients": {"trust": {0: 1.0, 7: 0.25}},
        "attack": AttackRecord(share=0.5, attackers={7: "alie"}),
        "nonfinite_clients": [3],
        "times": {"gather": 0.125},
    }
    return RoundRecord(round=number, **{**values, **changes})


def expected_numbers(number: int) -> dict[str, float]:
    """The finite numbers of :func:`a_record`."""
    named = {"server.step_norm": 0.5, "times.gather": 0.125, "attack.share": 0.5, "nonfinite_clients": 1}
    return {"round": number, "accuracy": number / 10, **named}


@dataclass
class StoredRun:
    """A run as a service has it: in ``steps`` what it was given, in order."""

    options: Mapping[str, Any]
    steps: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    ends: list[Any] = field(default_factory=list)

    @property
    def rounds(self) -> list[int]:
        return [step for step, _ in self.steps]

    def add(self, step: int, values: Mapping[str, float]) -> None:
        assert all(type(value) in (int, float) and value - value == 0 for value in values.values()), values
        self.steps.append((step, dict(values)))


def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> dict[str, StoredRun]:
    """Make ``import wandb`` give a stand-in; its runs by id."""
    stored: dict[str, StoredRun] = {}

    def init(*, id: str | None, resume: str | None, mode: str | None, **options: Any) -> Any:  # noqa: A002
        assert (id in stored) == (resume == "allow")
        name = id or f"w{len(stored)}"
        run = stored.setdefault(name, StoredRun(options))

        def log(values: Mapping[str, float], *, step: int) -> None:
            assert step > max(run.rounds, default=0), "a step that wandb would drop"
            run.add(step, values)

        def finish(*, exit_code: int) -> None:
            run.ends.append(exit_code)

        offline = mode == "offline"
        summary = SimpleNamespace(update=run.facts.update)
        return SimpleNamespace(id=name, url="https://wandb", offline=offline, log=log, summary=summary, finish=finish)

    module = ModuleType("wandb")
    vars(module).update(init=init, Settings=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return stored


def fake_mlflow(monkeypatch: pytest.MonkeyPatch) -> dict[str, StoredRun]:
    """Make ``import mlflow`` give a stand-in; its runs by id."""
    stored: dict[str, StoredRun] = {}
    experiments: dict[str, str] = {}

    class MlflowClient:
        def __init__(self, tracking_uri: str | None) -> None:
            self.tracking_uri = tracking_uri

        def get_experiment_by_name(self, name: str) -> Any:
            return SimpleNamespace(experiment_id=experiments[name]) if name in experiments else None

        def create_experiment(self, name: str) -> str:
            assert name not in experiments
            experiments[name] = f"e{len(experiments)}"
            return experiments[name]

        def create_run(self, experiment_id: str, run_name: str) -> Any:
            assert experiment_id in experiments.values()
            name = f"m{len(stored)}"
            stored[name] = StoredRun({"experiment": experiment_id, "name": run_name, "uri": self.tracking_uri})
            return SimpleNamespace(info=SimpleNamespace(run_id=name))

        def update_run(self, run_id: str, status: str) -> None:
            stored[run_id].ends.append(status)

        def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = ()) -> None:
            assert len(params) <= 100
            assert len(metrics) <= 1000
            run = stored[run_id]
            for key, value in params:
                assert key not in run.parameters, "a parameter cannot change"
                assert len(value) <= 500
                run.parameters[key] = value
            if metrics:
                (step,) = {metric[3] for metric in metrics}
                run.add(step, {metric[0]: metric[1] for metric in metrics})

        def set_tag(self, run_id: str, key: str, value: str) -> None:
            stored[run_id].facts[key] = value

        def set_terminated(self, run_id: str, status: str) -> None:
            stored[run_id].ends.append(status)

    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    vars(module).update(MlflowClient=MlflowClient)
    vars(entities).update(Metric=lambda *values: values, Param=lambda *values: values)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    return stored
