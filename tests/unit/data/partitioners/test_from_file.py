"""Splits from a file."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsim.data.partitioners import partitioners
from fedsim.data.split_file import write_split
from fedsim.errors import ConfigError
from support.partitions import LABELS, PARTITIONERS, as_lists, split
from support.randomness import seeded


def written(folder: Path, content: object) -> str:
    path = folder / "mine.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def by_file(content: object, folder: Path, clients: int = 2, samples: int = 4, **settings: Any) -> list[list[int]]:
    labels = torch.arange(samples) % 2
    return as_lists(split("file", labels, clients, folder, path=written(folder, content), **settings))


@pytest.mark.parametrize("name", [name for name in PARTITIONERS if name != "file"])
def test_a_split_that_is_written_is_the_split_that_is_read(name: str, tmp_path: Path) -> None:
    shares = split(name, LABELS, 7, tmp_path)
    path = tmp_path / "partition.json"
    write_split(path, shares, LABELS)
    assert as_lists(split("file", LABELS, 7, tmp_path, path=str(path))) == as_lists(shares)
    saved = json.loads(path.read_text())
    assert saved["samples"] == 997
    assert saved["clients"] == as_lists(shares)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_split_by_hand_needs_only_its_clients(tmp_path: Path) -> None:
    assert by_file({"clients": [[3, 1], [2, 0]]}, tmp_path) == [[1, 3], [0, 2]]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "not json",
        "[" * 100_000,
        "[[0, 1], [2, 3]]",
        '{"client": [[0, 1], [2, 3]]}',
        '{"clients": {"0": [0, 1], "1": [2, 3]}}',
        '{"clients": [[0, 1], 2, 3]}',
        '{"clients": [[0, 1], [2, 3.0]]}',
        '{"clients": [[0, true], [2, 3]]}',
        '{"clients": [[0, 1], [2, "3"]]}',
        '{"clients": [[0, 1], [2, null]]}',
        '{"clients": [[0, 1], [2, NaN]]}',
        "null",
    ],
)
def test_a_file_that_is_no_split_is_refused_before_and_in_the_run(content: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.json") as caught:
        by_file(content, tmp_path)
    assert caught.value.key == "data.partition.path"
    with pytest.raises(ConfigError, match=r"mine\.json"):
        partitioners.build("file", path=str(tmp_path / "mine.json")).check()


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"split\.bin"):
        partitioners.build("file", path=str(tmp_path / "split.bin")).check()


@pytest.mark.parametrize(
    "clients",
    [
        [[0, 1], [2]],
        [[0, 1], [2, 2]],
        [[0, 1], [2, 3, 3]],
        [[0, 1], [2, 4]],
        [[0, 1], [2, 3, 4]],
        [[0, 1], [2, -1]],
        [[0, 1], [2, 3, -1]],
        [[0, 1], [2, 2**62]],
        [[0, 1], [2, 2**63]],
        [[0, 1], [2, 3, -(10**30)]],
    ],
)
def test_each_training_sample_is_named_once(clients: list[list[int]], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="each of the 4 training samples once") as caught:
        by_file({"clients": clients}, tmp_path)
    assert caught.value.key == "data.partition.path"


@pytest.mark.parametrize(
    ("clients", "wrong"),
    [([[0, 1], [2]], 3), ([[0, 1], [2, 3, 3]], 3), ([[0, 1], [2, 3, 4]], 4), ([[0, 1], [2, 3, -1]], -1)],
)
def test_the_message_names_a_sample_that_is_wrong(clients: list[list[int]], wrong: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"see sample {wrong}\)"):
        by_file({"clients": clients}, tmp_path)


@pytest.mark.parametrize("clients", [1, 3, 4])
def test_a_split_is_for_as_many_clients_as_it_names(clients: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{clients}, but .*mine\.json splits among 2; set it to 2") as caught:
        by_file({"clients": [[0, 1], [2, 3]]}, tmp_path, clients)
    assert caught.value.key == "clients.count"


def test_a_split_of_other_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    labels = torch.tensor([0, 1, 0, 1])
    write_split(path, [torch.tensor([0, 1]), torch.tensor([2, 3])], labels)
    split("file", labels, 2, tmp_path, path=str(path))
    for other in ([1, 0, 0, 1], [0, 1, 0, 2]):
        with pytest.raises(ConfigError, match="other labels") as caught:
            split("file", torch.tensor(other), 2, tmp_path, path=str(path))
        assert caught.value.key == "data.partition.path"


def test_labels_are_distinguished_whatever_their_layout(tmp_path: Path) -> None:
    path = tmp_path / "partition.json"
    wide = torch.arange(8) % 3
    write_split(path, [torch.arange(4)], wide[::2])
    assert as_lists(split("file", wide[::2].contiguous(), 1, tmp_path, path=str(path))) == [[0, 1, 2, 3]]


def test_an_empty_client_in_a_file_must_be_allowed(tmp_path: Path) -> None:
    content = {"clients": [[0, 1, 2, 3], []]}
    with pytest.raises(ConfigError, match=r"clients \[1\] fewer than 1.*min_samples: 0") as caught:
        by_file(content, tmp_path)
    assert caught.value.key == "data.partition.path"
    assert by_file(content, tmp_path, min_samples=0) == [[0, 1, 2, 3], []]
    with pytest.raises(ConfigError, match=r"clients \[0\] fewer than 2"):
        by_file({"clients": [[0], [1, 2, 3]]}, tmp_path, min_samples=2)


def test_a_file_that_is_not_named_or_not_there_is_refused(tmp_path: Path) -> None:
    for partitioner, message in (
        (partitioners.build("file"), "missing"),
        (partitioners.build("file", path=str(tmp_path / "nothing.json")), r"nothing\.json"),
        (partitioners.build("file", path=str(tmp_path)), "cannot read"),
    ):
        for use in (partitioner.check, lambda chosen=partitioner: chosen.partition(LABELS, 7, seeded(0))):
            with pytest.raises(ConfigError, match=message) as caught:
                use()
            assert caught.value.key == "data.partition.path"


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, {"clients": [[0, 1], [2, 3]]})
    partitioner = partitioners.build("file", path="~/mine.json")
    partitioner.check()
    assert as_lists(partitioner.partition(torch.zeros(4, dtype=torch.int64), 2, seeded(0))) == [[0, 1], [2, 3]]


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigError, match="no-such-user"):
        partitioners.build("file", path="~no-such-user-here/mine.json").check()
