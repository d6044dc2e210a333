"""The note of the first failure."""

from pathlib import Path

from fedsim.run_directory.failure_note import first_to_note, forget_failure, noted_failure


def test_the_first_to_note_a_failure_is_the_only_one(tmp_path: Path) -> None:
    assert noted_failure(tmp_path) is None
    assert first_to_note(tmp_path, "rank 1 died")
    assert not first_to_note(tmp_path, "rank 0 failed")
    assert noted_failure(tmp_path) == "rank 1 died"
    forget_failure(tmp_path)
    forget_failure(tmp_path)
    assert noted_failure(tmp_path) is None
    assert first_to_note(tmp_path / "nowhere", "better twice than never")
