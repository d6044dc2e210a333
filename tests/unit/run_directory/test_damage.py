"""Damaged files of a run's directory."""

import errno
from pathlib import Path

import pytest

from fedsim.run_directory.damage import make_way_for, put_aside, read_bytes, read_json
from fedsim.run_directory.failure_note import clear_failure, record_failure, recorded_failure


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"null", b'"\xe4"', b"[" * 80_000, b'{"a": ' + b"8" * 5000 + b"}"]
)
def test_a_file_without_a_mapping_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") == {}
    assert read_json(tmp_path) == {}
    assert read_json(tmp_path / "y.json") == {}


def test_nothing_that_was_put_aside_is_overwritten(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        (tmp_path / "x.json").write_text(text)
        put_aside(tmp_path / "x.json")
    assert [(tmp_path / f"x.damaged{end}").read_text() for end in ("", "-2", "-3")] == ["first", "second", "third"]


def test_a_file_stays_where_it_is_and_a_folder_makes_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder", "nothing"):
        make_way_for(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.damaged"]


def test_a_folder_in_the_place_of_the_note_silences_no_failure(tmp_path: Path) -> None:
    (tmp_path / "failure.txt").mkdir()
    assert record_failure(tmp_path, "rank 2 died")
    assert recorded_failure(tmp_path) is None
    clear_failure(tmp_path)
    assert record_failure(tmp_path, "rank 2 died")
    assert not record_failure(tmp_path, "rank 1 died")
    assert recorded_failure(tmp_path) == "rank 2 died"
    (tmp_path / "failure.txt").write_bytes(b"rank \xff died\n")
    assert recorded_failure(tmp_path) == "rank \ufffd died"


def test_a_file_that_cannot_be_read_now_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS: it would be written again without what it holds."""
    (tmp_path / "metrics.jsonl").write_text("{}")

    def stale(path: Path) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle", str(path))

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(OSError, match="Stale"):
        read_bytes(tmp_path / "metrics.jsonl")
    assert read_json(tmp_path / "metrics.jsonl") == {}
