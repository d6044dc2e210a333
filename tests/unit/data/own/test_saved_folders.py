"""Whose the folders are that the library datasets has saved; their names and its small files say it."""

import json
from pathlib import Path

import pytest

from fedsim.data.own.saved_folders import find_saved_folders
from fedsim.errors import ConfigError


def save(folder: Path, splits: tuple[str, ...] = ()) -> None:
    """As save_to_disk lays out a Dataset, or a DatasetDict of these splits."""
    folder.mkdir(parents=True)
    if splits:
        (folder / "dataset_dict.json").write_text(json.dumps({"splits": splits}))
    for split in splits or ("",):
        (folder / split).mkdir(exist_ok=True)
        (folder / split / "state.json").write_text("{}")


def found(root: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Path from the root and client of the folders to train on, and of those to test on."""
    train, test = find_saved_folders(root)
    return (
        [(str(saved.path.relative_to(root)), saved.client) for saved in train],
        [(str(saved.path.relative_to(root)), saved.client) for saved in test],
    )


def test_one_data_set_is_nobodys(tmp_path: Path) -> None:
    save(tmp_path / "one")
    assert found(tmp_path / "one") == ([(".", "")], [])
    save(tmp_path / "dict", ("train", "validation", "test", "unsupervised"))
    assert found(tmp_path / "dict") == ([("train", "")], [("test", "")])
    save(tmp_path / "no_test", ("train", "validation_matched"))
    assert found(tmp_path / "no_test") == ([("train", "")], [("validation_matched", "")])
    save(tmp_path / "sides" / "train")
    save(tmp_path / "sides" / "test")
    assert found(tmp_path / "sides") == ([("train", "")], [("test", "")])


def test_folders_of_clients_are_called_by_their_numbers_or_names(tmp_path: Path) -> None:
    for client in (0, 2, 10):
        save(tmp_path / "numbers" / f"partition_{client}")
    save(tmp_path / "numbers" / "server_val")
    clients = {"partition_0": "0", "partition_2": "2", "partition_10": "10"}
    train, test = found(tmp_path / "numbers")
    assert dict(train) == clients
    assert test == [("server_val", "")]
    for place in ("bern", "genf"):
        save(tmp_path / "names" / place, ("train", "test"))
    assert found(tmp_path / "names") == (
        [("bern/train", "bern"), ("genf/train", "genf")],
        [("bern/test", "bern"), ("genf/test", "genf")],
    )
    for name in ("client_1_train", "client_1_test", "client_2_train"):
        save(tmp_path / "apart" / name)
    assert found(tmp_path / "apart") == (
        [("client_1_train", "1"), ("client_2_train", "2")],
        [("client_1_test", "1")],
    )


def test_folders_that_hold_nothing_to_train_on_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no saved data set"):
        find_saved_folders(tmp_path)
    save(tmp_path / "test")
    with pytest.raises(ConfigError, match=r"nothing in .* is for training \(found: test\)"):
        find_saved_folders(tmp_path)
    (tmp_path / "dataset_dict.json").write_text("[")
    with pytest.raises(ConfigError, match="cannot read"):
        find_saved_folders(tmp_path)
    for odd in ("[]", '{"splits": 3}', '{"splits": [4]}', "{}"):
        (tmp_path / "dataset_dict.json").write_text(odd)
        with pytest.raises(ConfigError, match="root"):
            find_saved_folders(tmp_path)
