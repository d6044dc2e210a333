"""What is said when a host falls silent: by the side with rank 0, and not by both."""

from pathlib import Path

import pytest

from fedsim.comm import RankPlace, RankStatus
from fedsim.failures.handler import FailureHandler
from fedsim.run_directory.failure_note import record_failure, recorded_failure

ZERO = RankStatus(rank=0, host="alder", pid=10, machine="alder", activity="phase 'aggregate'")
FAR = RankStatus(rank=3, host="birch", pid=13, machine="birch", activity="phase 'local_work', client 5")


class LeftError(Exception):
    """In the place of the end of the process."""


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a rank has waited before it speaks."""

    def leave(status: int) -> None:
        raise LeftError(str(status))

    seconds: list[float] = []
    monkeypatch.setattr("os._exit", leave)
    monkeypatch.setattr("fedsim.failures.handler.sleep", seconds.append)
    return seconds


def fall_silent(me: RankStatus, other: RankStatus, directory: Path) -> None:
    handler = FailureHandler(terminal=2)
    handler.rank_is_known(RankPlace(me.rank, 4, 0, 2))
    handler.directory_is_known(directory)
    with pytest.raises(LeftError, match="1"):
        handler.on_silence(me, other)


def test_rank_0_names_the_rank_whose_host_fell_silent_at_once(
    tmp_path: Path, waited: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    fall_silent(ZERO, FAR, tmp_path)
    assert waited == []
    said = "rank 3 (host birch, process 13) fell silent in phase 'local_work', client 5: its host is gone, or cut off"
    assert capfd.readouterr().err == f"fedsim: {said} from host alder\n"
    assert recorded_failure(tmp_path) == f"{said} from host alder"


def test_the_other_side_gives_way_and_keeps_silent_if_rank_0_has_spoken(
    tmp_path: Path, waited: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    record_failure(tmp_path, "said by rank 0")
    fall_silent(FAR, ZERO, tmp_path)
    assert sum(waited) >= 30
    assert capfd.readouterr().err == ""
    assert recorded_failure(tmp_path) == "said by rank 0"


def test_where_rank_0_is_gone_the_other_side_says_what_it_knows_and_blames_nobody(
    tmp_path: Path, waited: list[float], capfd: pytest.CaptureFixture[str]
) -> None:
    fall_silent(FAR, ZERO, tmp_path)
    assert sum(waited) >= 30
    assert capfd.readouterr().err == (
        "fedsim: rank 3 (host birch, process 13) has lost rank 0 (host alder, process 10) in phase 'local_work', "
        "client 5: rank 0 says more, unless its host is gone\n"
    )
