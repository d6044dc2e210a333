"""A recorded run, looked at from Python."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import fedsim
from fedsim.data.sources import sources
from fedsim.errors import CheckpointError, ConfigError

CONFIG: dict[str, Any] = {
    "rounds": 3,
    "data": {"name": "mnist5k", "partition": {"name": "iid"}},
    "model": {"name": "small_cnn", "width": 4, "hidden": 8, "batch_norm": True, "freeze": ["0.0.*"]},
    "clients": {"count": 4, "local_steps": 2},
    "attack": {"name": "alie", "num_byzantine": 1, "z": "auto"},
    "aggregator": {"name": "fedseca"},
    "checkpoint": {"every": 1, "keep": 2},
    "tracking": {"tensorboard": False},
    "run_name": "run",
}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> fedsim.RunResult:
    return fedsim.run({"output_dir": str(tmp_path_factory.mktemp("runs")), **CONFIG}, quiet=True)


def lines(result: fedsim.RunResult) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (result.directory / "metrics.jsonl").read_text().splitlines()]


def test_metrics_have_a_row_per_round(result: fedsim.RunResult) -> None:
    frame = result.metrics
    assert frame["round"].tolist() == [1, 2, 3]
    for row, line in zip(frame.to_dict("records"), lines(result), strict=True):
        assert row["accuracy"] == line["accuracy"]
        assert row["server.aggregation_error"] == line["server"]["aggregation_error"]
        assert row["times.aggregate"] == line["times"]["aggregate"]


def test_clients_have_a_row_per_round_and_client(result: fedsim.RunResult) -> None:
    frame = result.clients
    assert list(zip(frame["round"], frame["client"], strict=True)) == [(r, c) for r in (1, 2, 3) for c in range(4)]
    assert frame.groupby("client")["byzantine"].all().tolist() == [False, False, False, True]
    assert frame.loc[frame["byzantine"], "attack"].unique().tolist() == ["alie"]
    of_last = lines(result)[-1]["clients"]["update_norm"]
    assert frame.loc[frame["round"] == 3, "update_norm"].tolist() == list(of_last.values())
    assert frame.loc[frame["byzantine"], "train_loss"].isna().all()


def test_attacks_have_their_parameters(result: fedsim.RunResult) -> None:
    frame = result.attacks
    assert frame["clients"].tolist() == [(3,)] * 3
    assert frame["z"].tolist() == [line["attack"]["parameters"]["alie"]["z"] for line in lines(result)]


def test_the_model_predicts_as_it_was_evaluated(result: fedsim.RunResult) -> None:
    """Without fedsim's evaluator: one batch, by hand."""
    test = sources.build("mnist5k").load(None).test
    mean, std = (torch.tensor(values) for values in result.normalization)
    pixels = test.pick(torch.arange(len(test)))
    assert isinstance(pixels, torch.Tensor)
    images = (pixels.float() / 255 - mean) / std
    for after_round in (2, 3):
        model = result.model(after_round)
        assert not model.training
        with torch.no_grad():
            right = (model(images).argmax(1) == test.labels).double().mean()
        assert float(right) == pytest.approx(result.metrics["accuracy"][after_round - 1], abs=0.0011)


def test_parameters_are_those_of_the_checkpoint(result: fedsim.RunResult) -> None:
    named = dict(result.model().named_parameters())
    values = result.parameters()
    assert set(named) - set(values) == {"0.0.weight", "0.0.bias"}  # frozen
    assert all(torch.equal(values[name], named[name]) for name in named if name in values)
    assert result.checkpoints == [2, 3]
    assert any(not torch.equal(result.parameters(2)[name], values[name]) for name in values)


def test_it_knows_its_task(result: fedsim.RunResult) -> None:
    assert (result.task.input_shape, result.task.num_classes) == ((1, 28, 28), 10)
    assert result.class_names == tuple("0123456789")
    assert repr(result).startswith(f"RunResult('{result.directory}': completed after 3 rounds, final accuracy 0.")


def test_what_is_missing_is_named(result: fedsim.RunResult, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint after round 1, but after 2, 3"):
        result.parameters(1)
    with pytest.raises(ConfigError, match=r"holds no run: there is no config\.yaml in it"):
        fedsim.load_run(tmp_path)
    (tmp_path / "config.yaml").write_bytes((result.directory / "config.yaml").read_bytes())
    killed = fedsim.load_run(tmp_path)
    assert (killed.status, len(killed.metrics), len(killed.clients)) == ("unfinished", 0, 0)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        killed.model()
    with pytest.raises(ConfigError, match=r"task\.json is missing or damaged"):
        _ = killed.task


def test_a_damaged_checkpoint_is_named(result: fedsim.RunResult, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((result.directory / "config.yaml").read_bytes())
    (tmp_path / "checkpoints").mkdir()
    content = bytearray((result.directory / "checkpoints" / "round_000003.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "checkpoints" / "round_000003.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"round_000003\.safetensors: its checksum does not fit"):
        fedsim.load_run(tmp_path).parameters()
