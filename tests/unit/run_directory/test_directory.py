"""Directories of runs and their names."""

from pathlib import Path

import pytest

from fedsim.errors import ConfigError
from fedsim.run_directory.directory import new_run_directory, run_directories


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


def test_a_name_is_no_pattern_and_a_lost_config_hides_no_run(tmp_path: Path) -> None:
    for name in ("lr[0.1]", "lr[0.1]-2", "lr0"):
        (tmp_path / name).mkdir()
    (tmp_path / "lr[0.1]" / "metrics.jsonl").touch()
    (tmp_path / "lr[0.1]-2" / "checkpoints").mkdir()
    assert [path.name for path in run_directories(tmp_path, "lr[0.1]")] == ["lr[0.1]"]
    (tmp_path / "lr[0.1]-2" / "checkpoints" / "round_000010.safetensors").touch()
    assert [path.name for path in run_directories(tmp_path, "lr[0.1]")] == ["lr[0.1]-2", "lr[0.1]"]
    assert run_directories(tmp_path / "nothing", "lr") == []
