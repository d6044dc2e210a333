"""The note of the first failure."""

from pathlib import Path

from fedsim.run_directory.failure_note import clear_failure, record_failure, recorded_failure


def test_the_record_failure_a_failure_is_the_only_one(tmp_path: Path) -> None:
    assert recorded_failure(tmp_path) is None
    assert record_failure(tmp_path, "rank 1 died")
    assert not record_failure(tmp_path, "rank 0 failed")
    assert recorded_failure(tmp_path) == "rank 1 died"
    clear_failure(tmp_path)
    clear_failure(tmp_path)
    assert recorded_failure(tmp_path) is None
    assert record_failure(tmp_path / "nowhere", "better twice than never")
