"""Runs with validation samples, and runs that stop early by them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

import fedsim
from fedsim.data.sources import sources
from fedsim.main import main
from support.forked_ranks import forked_ranks
from support.runs import final_state, records

DATA = {"num_train": 400, "num_test": 60, "num_classes": 3, "shape": [1, 4, 4], "spread": 4.0}
SMALL = [
    f"data={{name: synthetic, {json.dumps(DATA)[1:-1]}, validation: 0.1}}",
    "model={name: mlp, hidden: [4]}",
    "clients.count=5",
    "clients.optimizer={name: sgd, lr: 0.3}",
    "attack={name: gaussian, num_byzantine: 1}",
    "aggregator={name: fedseca, momentum: 0.5}",
    "checkpoint={every: 1, keep: 99}",
    "tracking.tensorboard=false",
    "run_name=run",
]
ROUNDS = 11
EARLY = "stopping={patience: 3, at_least: 4}"


def go(folder: Path, *more: str, rounds: int = ROUNDS) -> None:
    assert main([*SMALL, f"rounds={rounds}", f"output_dir={folder}", *more]) == 0


def summary(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "run" / "summary.json").read_text())
    return {key: value for key, value in said.items() if key != "seconds"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    go(folder)
    return folder


def test_the_global_model_is_measured_on_samples_that_nobody_trains_on(whole: Path) -> None:
    run = fedsim.load_run(whole / "run")
    split = json.loads((whole / "run" / "partition.json").read_text())
    kept, trained = split["validation"], [index for indices in split["clients"] for index in indices]
    assert len(kept) == 40
    assert sorted(kept + trained) == list(range(400))
    train = sources.build("synthetic", **DATA).load(None).train
    mean, std = run.normalization or ([0.0], [1.0])
    for number in (1, ROUNDS):
        with torch.no_grad():
            inputs = train.pick(torch.tensor(kept))
            assert isinstance(inputs, torch.Tensor)
            logits = run.model(number)((inputs - mean[0]) / std[0])
        labels = train.labels[kept]
        said = run.metrics.set_index("round").loc[number]
        assert said["validation.accuracy"] == accuracy_score(labels, logits.argmax(1))
        assert said["validation.balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(labels, logits.argmax(1))
        )
        assert said["validation.loss"] == pytest.approx(log_loss(labels, logits.double().softmax(1)), rel=1e-5)


def test_the_best_round_is_chosen_by_validation(whole: Path) -> None:
    lines = records(whole)
    by_validation = max(lines, key=lambda line: line["validation"]["accuracy"])  # the first of several
    said = summary(whole)
    assert said["best_round"] == by_validation["round"]
    assert said["best_accuracy"] == by_validation["accuracy"]
    assert said["best_validation_accuracy"] == by_validation["validation"]["accuracy"]
    assert said["best_accuracy"] < max(line["accuracy"] for line in lines)  # else this would show nothing


def same_rounds(folder: Path, whole: Path, rounds: int) -> None:
    assert records(folder) == records(whole)[:rounds]
    assert torch.equal(final_state(folder / "run", rounds), final_state(whole / "run", rounds))


def test_a_resumed_run_is_evaluated_on_the_same_samples(whole: Path, tmp_path: Path) -> None:
    go(tmp_path, rounds=4)
    go(tmp_path, "--resume")
    same_rounds(tmp_path, whole, ROUNDS)
    assert summary(tmp_path) == summary(whole)


def stops_after(lines: Sequence[Mapping[str, Any]], patience: int, at_least: int) -> int:
    found = [line["validation"]["accuracy"] for line in lines]
    return next(
        done
        for done in range(at_least, len(found) + 1)
        if done > patience and max(found[done - patience : done]) <= max(found[: done - patience])
    )


def test_a_run_that_stops_early_has_the_bits_of_the_rounds_that_it_ran(whole: Path, tmp_path: Path) -> None:
    expected = stops_after(records(whole), 3, 4)
    assert 4 < expected < ROUNDS
    parts, ranks = tmp_path / "parts", tmp_path / "ranks"
    go(parts, EARLY, rounds=expected - 1)
    assert "stopped_early" not in summary(parts)
    go(parts, EARLY, "--resume")
    arguments = [*SMALL, EARLY, f"rounds={ROUNDS}", f"output_dir={ranks}", "server.sharded=true"]
    done = forked_ranks(2, *arguments)
    assert done.status == 0, done.err
    for folder in (parts, ranks):
        same_rounds(folder, whole, expected)
        assert (summary(folder)["status"], summary(folder)["stopped_early"]) == ("completed", True)
    before = (parts / "run" / "metrics.jsonl").read_bytes()
    go(parts, EARLY, "--resume", rounds=ROUNDS + 5)  # more rounds do not make it improve
    assert (parts / "run" / "metrics.jsonl").read_bytes() == before
    assert summary(parts)["stopped_early"]
    go(parts, "--resume")  # without the rule it goes on
    same_rounds(parts, whole, ROUNDS)
    assert summary(parts) == summary(whole)


def test_mistakes_and_what_flatters_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain = [*SMALL, "data.validation=0", "--check"]
    assert main([*plain, EARLY]) == 2
    assert "stopping.metric: 'validation.accuracy' needs validation samples" in capfd.readouterr().err
    assert main([*plain, "stopping.metric=loss"]) == 0
    assert "stopping.metric: loss looks at the test data" in capfd.readouterr().err
    assert main([*SMALL, "data.validation=0.0001", "--check"]) == 2
    assert "data.validation: 0.0001 of 400 training samples is none of them" in capfd.readouterr().err
