"""Sources, partitioners, cache, checkpoints and records on disk."""

import json
from pathlib import Path

import pytest
import torch

from fedsim.data.inputs import Inputs
from fedsim.data.sources import sources
from fedsim.errors import CheckpointError, ConfigError
from fedsim.models import models
from fedsim.records.writers import JsonLines
from fedsim.run_directory.checkpoint import Checkpoints, pack, unpack
from fedsim.run_directory.directory import new_run_directory, run_directories

LABELS = torch.arange(997) % 10


def test_the_embedded_digits_are_stratified_and_split_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path))
    splits = sources.build("mnist5k").load(None)
    assert torch.bincount(splits.train.labels).tolist() == [400] * 10
    assert torch.bincount(splits.test.labels).tolist() == [100] * 10
    images = Inputs(splits.train).batch(torch.tensor([0, 399, 400]))
    assert images.shape == (3, 1, 28, 28)
    assert 0.05 < images.mean() < 0.5
    assert images.max() == 1.0
    train, test = (
        {image.numpy().tobytes() for image in samples.pick(torch.arange(len(samples)))}
        for samples in (splits.train, splits.test)
    )
    assert len(train & test) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mnist5k-v2"]


@pytest.mark.parametrize("name", list(models.describe()))
def test_every_model_classifies(name: str) -> None:
    model = models.build(name).build((1, 32, 32), 5)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


def test_an_unknown_timm_architecture_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="resnet18"):
        models.build("timm", architecture="resnet_18").build((3, 32, 32), 5)


def test_a_state_survives_the_round_trip() -> None:
    state = {"a": torch.arange(3), 5: [1, 2.5, None, (True, "x")], "empty": {}, "zero": torch.empty(0)}
    tree, tensors = pack(state)
    back = unpack(json.loads(json.dumps(tree)), tensors)
    assert torch.equal(back.pop("a"), state.pop("a"))
    assert back.pop("zero").shape == (0,)
    state.pop("zero")
    assert back == state
    with pytest.raises(CheckpointError, match="set"):
        pack({"a": {1, 2}})


def test_the_newest_checkpoints_stay_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.load_newest() is None
    for round in (1, 2, 10):
        checkpoints.save(round, {"w": torch.full((2,), float(round))})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "round_000002.safetensors",
        "round_000010.safetensors",
    ]
    round, state = checkpoints.load_newest()
    assert round == 10
    assert state["w"].tolist() == [10.0, 10.0]


@pytest.mark.parametrize("damage", ["cut", "bit", "state", "empty"])
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for round in (4, 5):
        checkpoints.save(round, {"w": torch.full((2,), float(round)), "half": torch.ones(3).bfloat16(), "x": "text"})
    path = tmp_path / "round_000005.safetensors"
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-3],
        "bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "state": whole.replace(b"text", b"texd"),
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    round, state = checkpoints.load_newest()
    assert round == 4
    assert state["w"].tolist() == [4.0, 4.0]
    assert "round_000005.safetensors is damaged" in caplog.text
    checkpoints.save(5, {"w": torch.full((2,), 5.0)})
    assert checkpoints.load_newest()[0] == 5
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="every checkpoint"):
        checkpoints.load_newest()


def test_what_a_killed_process_left_is_swept_and_a_full_disk_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    (tmp_path / ".round_000001.1234abcd.part.safetensors").write_bytes(b"half")
    checkpoints.save(1, {"w": torch.ones(2)})
    assert [path.name for path in tmp_path.iterdir()] == ["round_000001.safetensors"]

    def full(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedsim.run_directory.checkpoint.save_file", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*make room"):
        checkpoints.save(2, {"w": torch.ones(2)})
    assert [path.name for path in tmp_path.iterdir()] == ["round_000001.safetensors"]
    assert checkpoints.load_newest()[0] == 1


def test_run_directories_are_numbered(tmp_path: Path) -> None:
    names = [new_run_directory(tmp_path, "a").name for _ in range(11)]
    assert names[:2] + names[-1:] == ["a", "a-2", "a-11"]
    new_run_directory(tmp_path, "a-b")
    assert run_directories(tmp_path, "a") == []  # none of them got under way
    for name in ("a-2", "a-10", "a-b"):
        (tmp_path / name / "config.yaml").touch()
    assert run_directories(tmp_path, "a")[0] == tmp_path / "a-10"
    assert run_directories(tmp_path, "b") == []


def test_an_output_folder_that_cannot_be_made_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="output_dir"):
        new_run_directory(tmp_path / "file", "a")


def test_metrics_are_cut_to_the_checkpoint_and_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"round": 1}\n{"round": 2}\n{"round": 3}\n{"rou')
    writer = JsonLines(path, after_round=2)
    writer.write({"round": 3, "loss": float("nan"), "clients": {4: [float("inf"), 1.0]}})
    writer.close("completed")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"round": 1}, {"round": 2}, {"round": 3, "loss": None, "clients": {"4": [None, 1.0]}}]


def test_images_too_small_for_the_cnn_are_refused() -> None:
    models.build("small_cnn").build((1, 16, 16), 5)
    for shape in ((1, 15, 16), (400,)):
        with pytest.raises(ConfigError, match="small_cnn needs"):
            models.build("small_cnn").build(shape, 5)
    with pytest.raises(ConfigError, match=r"shape\.1"):
        sources.build("synthetic", shape=[1, -3])
