"""Checkpoints: states on disk, damage, full disks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsim.errors import CheckpointError
from fedsim.run_directory.checkpoint import Checkpoints, pack, unpack


def test_a_state_survives_the_round_trip() -> None:
    state: dict[Any, Any] = {
        "a": torch.arange(3),
        5: [1, 2.5, None, (True, "x")],
        "empty": {},
        "zero": torch.empty(0),
    }
    tree, tensors = pack(state)
    back = unpack(json.loads(json.dumps(tree)), tensors)
    assert torch.equal(back.pop("a"), state.pop("a"))
    assert back.pop("zero").shape == (0,)
    state.pop("zero")
    assert back == state
    with pytest.raises(CheckpointError, match="set"):
        pack({"a": {1, 2}})


def test_tensors_are_named_by_their_place() -> None:
    one = torch.ones(1)
    tree, tensors = pack({"model": {"fc.weight": one}, "clients": {3: [one, one], "3": (one,)}, "w": one})
    assert list(tensors) == ["model.fc.weight", "clients.3.0", "clients.3.1", "clients.3.0'", "w"]
    assert unpack(json.loads(json.dumps(tree)), tensors)["clients"].keys() == {3, "3"}


def test_the_newest_checkpoints_stay_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.load_newest() is None
    for round_index in (1, 2, 10):
        checkpoints.save(round_index, {"w": torch.full((2,), float(round_index))})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "round_000002.safetensors",
        "round_000010.safetensors",
    ]
    round_index, state = checkpoints.load_newest()
    assert round_index == 10
    assert state["w"].tolist() == [10.0, 10.0]


@pytest.mark.parametrize("damage", ["cut", "bit", "state", "empty"])
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for round_index in (4, 5):
        checkpoints.save(
            round_index, {"w": torch.full((2,), float(round_index)), "half": torch.ones(3).bfloat16(), "x": "text"}
        )
    path = tmp_path / "round_000005.safetensors"
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-3],
        "bit": whole[:-1] + bytes([whole[-1] ^ 1]),
        "state": whole.replace(b"text", b"texd"),
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    round_index, state = checkpoints.load_newest()
    assert round_index == 4
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
