"""LEAF's JSON files: what is read, and how damaged ones are named."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedsim.data.formats.leaf import json_files, read_users
from fedsim.errors import ConfigError
from support.data_checks import grown_memory
from support.published_images import leaf_file, leaf_users


def test_users_are_those_that_json_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(leaf_file(leaf_users(["b", "a"], [3, 2], 0), left_out=["c"]))
    content = json.loads(path.read_text())
    users = list(read_users(path, ""))
    assert [user.name for user in users] == content["users"] == ["b", "a"]
    for user in users:
        assert user.x == content["user_data"][user.name]["x"]
        assert user.y == content["user_data"][user.name]["y"]


def test_equal_pixels_share_their_memory(tmp_path: Path) -> None:
    """Python's json makes a float of 24 bytes and a reference of 8 for each; here it is the reference alone."""
    path = tmp_path / "a.json"
    path.write_text(leaf_file(leaf_users(["a"], [1000], 0)))
    text = path.stat().st_size / 2**20
    lists = 1000 * 784 * 8 / 2**20
    ours = grown_memory(lambda: list(read_users(path, "")))
    assert ours < 2 * text + lists + 4


def damaged(**changes: Any) -> str:
    content = json.loads(leaf_file(leaf_users(["a", "b"], [2, 3], 0)))
    content.update(changes)
    return json.dumps({key: value for key, value in content.items() if value is not None})


WHOLE = damaged()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (WHOLE[: len(WHOLE) // 2], "Expecting|Unterminated|delimiter"),
        ("", "Expecting value"),
        ("[1, 2]", "it has no list 'users'"),
        (damaged(users=None), "it has no list 'users'"),
        (damaged(num_samples=None), "it has no list 'num_samples'"),
        (damaged(user_data=None), "it has no dictionary 'user_data'"),
        (damaged(users=["a"]), "it has 1 users, but 2 'num_samples'"),
        (damaged(users=["a", "z"]), "'user_data' has no user 'z'"),
        (damaged(users=["a", 7]), "7 is no name of a user"),
        (damaged(users=["a", "a"]), "'user_data' has no user 'a'"),
        (damaged(num_samples=[2, 4]), "user 'b' has 3 inputs, 3 labels and 4 'num_samples'"),
        (damaged(user_data={"a": {"x": [[0.0]]}, "b": {}}), "it has no list 'y' of user 'a'"),
        (damaged(user_data={"a": [], "b": {}}), "it has no list 'x' of user 'a'"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_damaged_file_is_named(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=says) as raised:
        list(read_users(path, "make it again"))
    assert str(path) in raised.value.problem
    assert (raised.value.key, raised.value.remedy) == ("root", "make it again")


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe{\x00\x00")
    for name in ("a.json", "missing.json"):
        with pytest.raises(ConfigError, match=name):
            list(read_users(tmp_path / name, ""))


def test_only_json_files_are_taken(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no \.json file"):
        json_files(tmp_path, "")
    for name in ("b.json", "a.json", "._a.json", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in json_files(tmp_path, "")] == ["a.json", "b.json"]
