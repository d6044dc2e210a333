"""Fetching into a folder: whole or not at all."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from fedsim.data.storage.fetch import fetch
from fedsim.errors import ConfigError
from support.data_checks import refuse

pytestmark = pytest.mark.usefixtures("cache")


def test_a_fetch_that_works_ends_in_place(tmp_path: Path) -> None:
    places = []

    def download(place: str) -> None:
        places.append(Path(place))
        assert not (tmp_path / "root" / "set").exists()
        (Path(place) / "set").mkdir()
        (Path(place) / "set" / "a").write_text("whole")
        (Path(place) / "set.zip").write_text("archive")

    fetch(tmp_path / "root", "set", download, "a set")
    assert (tmp_path / "root" / "set" / "a").read_text() == "whole"
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["set"]
    assert places[0].parent == tmp_path / "root"  # the same file system, for the rename


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route"),
        RuntimeError("File not found or corrupted."),
        zipfile.BadZipFile("File is not a zip file"),
        tarfile.ReadError("unexpected end of data"),
        EOFError("Compressed file ended"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fetch_that_fails_half_way_leaves_nothing(error: Exception, tmp_path: Path) -> None:
    def download(place: str) -> None:
        (Path(place) / "set").mkdir()
        (Path(place) / "set" / "half").write_bytes(b"half")
        raise error

    with pytest.raises(ConfigError) as raised:
        fetch(tmp_path, "set", download, "a set")
    assert str(error) in str(raised.value)
    assert f"there is {tmp_path / 'set'}" in raised.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_fetch_leaves_nothing(tmp_path: Path) -> None:
    def download(place: str) -> None:
        (Path(place) / "set").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path, "set", download, "a set")
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_brings_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot fetch a set"):
        fetch(tmp_path, "set", lambda place: None, "a set")
    assert list(tmp_path.iterdir()) == []


def test_a_half_folder_is_left_and_nothing_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="set is not whole; remove or complete it"):
        fetch(tmp_path, "set", refuse, "a set")
    assert (tmp_path / "set" / "mine").read_text() == "mine"


def test_a_root_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot fetch a set"):
        fetch(tmp_path / "file" / "root", "set", refuse, "a set")
