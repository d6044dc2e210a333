"""Who holds a run's directory finds nothing of what killed processes were writing there."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fedsim.errors import ConfigError
from fedsim.files import whole_or_not_at_all, write_text
from fedsim.run_directory.lock import lock_run_directory


def in_a_process_that_is_killed(write: Callable[[], None]) -> None:
    pid = os.fork()
    if not pid:
        write()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    "name", ["partition.png", "config.yaml", "metrics.jsonl", "checkpoints/round_000003.safetensors"]
)
def test_parts_of_files_of_a_killed_process_are_removed_and_nothing_else(tmp_path: Path, name: str) -> None:
    def half_a_file() -> None:
        with whole_or_not_at_all(tmp_path / name) as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)

    (tmp_path / "checkpoints").mkdir()
    mine = [".mine", ".mine.part", "checkpoints/x.part", ".lock"]
    for file in mine:
        (tmp_path / file).write_text("")
    in_a_process_that_is_killed(half_a_file)
    assert len(list(tmp_path.rglob("*.part.*"))) == 1
    lock_run_directory(tmp_path).release()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(mine)


def test_whoever_does_not_get_the_lock_removes_nothing(tmp_path: Path) -> None:
    lock = lock_run_directory(tmp_path)
    with whole_or_not_at_all(tmp_path / "config.yaml") as part:
        write_text(part, "half")
        with pytest.raises(ConfigError, match="in use"):
            lock_run_directory(tmp_path)
    assert (tmp_path / "config.yaml").read_text() == "half"
    lock.release()
