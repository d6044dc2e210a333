"""Checkpoints: states on disk, damage, full disks."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from fedsim.errors import CheckpointError
from fedsim.run_directory.checkpoint import Checkpoints, Origin, pack, unpack


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


MINE = Origin(run="a1", results="b2", frozen="c3")


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        (
            Origin("a2", "b2", "c3"),
            "round_000008.safetensors belongs to another run: put aside as round_000008.foreign",
        ),
        (Origin("", "b2", "c3"), "round_000008.safetensors belongs to another run"),
        (Origin("a1", "b1", "c3"), "round_000008.safetensors was made with other settings or data: put aside"),
    ],
)
def test_a_checkpoint_of_another_origin_is_put_aside(
    tmp_path: Path, origin: Origin, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    Checkpoints(tmp_path, 3, MINE).save(7, {"w": torch.ones(2)}, {"lines": 7})
    Checkpoints(tmp_path, 3, origin).save(8, {"w": torch.zeros(2)})
    round_number, state = Checkpoints(tmp_path, 3, MINE).load_newest()
    assert (round_number, state["w"].tolist(), state["records"]) == (7, [1.0, 1.0], {"lines": 7})
    assert said in caplog.text
    with pytest.raises(CheckpointError, match="other frozen parameters"):
        Checkpoints(tmp_path, 3, Origin("a1", "b2", "c4")).load_newest()


@pytest.mark.parametrize("old", [b'"a1"', b'"b2"', b'"c3"', b'"7"', b"fedsim-4", b"checksum", b"lines"])
def test_a_changed_header_is_damage(tmp_path: Path, old: bytes, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = Checkpoints(tmp_path, 3, MINE)
    for round_number in (6, 7):
        checkpoints.save(round_number, {"w": torch.ones(2)}, {"lines": round_number})
    path = tmp_path / "round_000007.safetensors"
    content, middle = path.read_bytes(), len(old) // 2
    assert old in content
    path.write_bytes(content.replace(old, old[:middle] + bytes([old[middle] ^ 1]) + old[middle + 1 :]))
    assert checkpoints.load_newest()[0] == 6
    assert "round_000007.safetensors is damaged" in caplog.text


def test_the_checksum_is_of_the_state_alone(tmp_path: Path) -> None:
    """Two runs of one configuration have the same, as CONTRIBUTING.md says."""
    sums = set()
    for name in ("one", "other"):
        Checkpoints(tmp_path / name, 1, Origin(run=name)).save(1, {"w": torch.ones(2)}, {"name": name})
        with safe_open(tmp_path / name / "round_000001.safetensors", "pt") as file:
            sums.add(file.metadata()["checksum"])
    assert len(sums) == 1


def test_what_is_no_file_is_put_aside_and_never_in_the_way(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(2, {"w": torch.ones(2)})
    (tmp_path / "round_000001.safetensors").mkdir()
    os.mkfifo(tmp_path / "round_000003.safetensors")
    assert checkpoints.load_newest()[0] == 2
    assert (tmp_path / "round_000003.damaged").is_fifo()
    checkpoints.save(4, {"w": torch.ones(2)})
    assert not (tmp_path / "round_000002.safetensors").exists()
