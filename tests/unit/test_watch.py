"""Ranks that watch each other: over real sockets, in threads of one process."""

import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fedsim.comm.health.connections import connect_lines
from fedsim.comm.health.monitor import Watch
from fedsim.comm.health.rank_status import Standing, killed_by, trouble_of_process
from fedsim.run_directory.failure_note import first_to_note, forget_failure, noted_failure
from fedsim.run_directory.launch_facts import is_started_again


class Heard:
    """An alarm that keeps what it hears."""

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[str, object]] = queue.Queue()

    def gone(self, rank: Standing, why: str) -> None:
        self.calls.put(("gone", (rank.rank, rank.activity, why)))

    def leaving(self, rank: Standing, reason: str) -> None:
        self.calls.put(("leaving", (rank.rank, reason)))

    def late(self, me: Standing, ranks: Sequence[Standing], seconds: float) -> None:
        self.calls.put(("late", (me.rank, [rank.rank for rank in ranks], seconds)))

    def next(self) -> tuple[str, object]:
        return self.calls.get(timeout=5)

    def nothing(self) -> bool:
        time.sleep(0.3)
        return self.calls.empty()


class Pair:
    """Rank 0 and rank 1, with a line between them."""

    def __init__(self, patience: float = 1e9) -> None:
        here, there = socket.socketpair()
        everyone = {rank: Standing(rank=rank) for rank in range(2)}
        self.heard = Heard(), Heard()
        self.zero = Watch(0, everyone, {1: here}, self.heard[0], patience)
        self.one = Watch(1, everyone, {0: there}, self.heard[1], patience)
        self.line_of_one = there


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.zero.close()
    made.one.close()


def until(condition) -> None:  # type: ignore[no-untyped-def]
    limit = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_what_a_rank_does_is_known_at_the_other_end(pair: Pair) -> None:
    pair.one.tell("phase 'local_work', client 5")
    with pair.one.meeting():
        pass
    until(lambda: pair.zero.standing(1).meetings == 1)
    assert pair.zero.standing(1).activity == "phase 'local_work', client 5"
    assert pair.zero.me.meetings == 0


def test_a_line_that_breaks_is_a_death(pair: Pair) -> None:
    pair.one.tell("phase 'evaluate'")
    until(lambda: pair.zero.standing(1).activity == "phase 'evaluate'")
    pair.line_of_one.shutdown(socket.SHUT_RDWR)
    what, (rank, activity, why) = pair.heard[0].next()  # type: ignore[misc]
    assert (what, rank, activity) == ("gone", 1, "phase 'evaluate'")
    assert why == "its process ended, or its host is gone"  # this one has not


def test_who_leaves_with_a_reason_did_not_die(pair: Pair) -> None:
    pair.one.leave("ValueError: boom")
    assert pair.heard[0].next() == ("leaving", (1, "ValueError: boom"))
    pair.line_of_one.shutdown(socket.SHUT_RDWR)
    assert pair.heard[0].nothing()


def test_who_has_finished_did_not_die(pair: Pair) -> None:
    pair.one.close()
    assert pair.heard[0].nothing()
    pair.zero.tell("goes on")  # and nobody minds
    pair.one.close()
    assert pair.heard[1].nothing()


def test_who_does_not_come_is_late_and_who_waits_is_not() -> None:
    pair = Pair(patience=0.8)
    with pair.zero.meeting():
        what, (me, ranks, seconds) = pair.heard[0].next()  # type: ignore[misc]
    assert (what, me, ranks) == ("late", 0, [1])
    assert 0.8 <= seconds < 3
    pair.zero.close()
    pair.one.close()


def test_two_who_wait_for_a_third_do_not_blame_each_other() -> None:
    pair = Pair(patience=0.2)
    with pair.zero.meeting(), pair.one.meeting():
        time.sleep(1.5)
    assert pair.heard[0].nothing()
    assert pair.heard[1].nothing()
    pair.zero.close()
    pair.one.close()


def test_who_waits_elsewhere_for_a_third_is_blamed_only_after_twice_the_time() -> None:
    pair = Pair(patience=1.0)
    with pair.zero.meeting(), pair.one.meeting():  # the broadcast, where rank 0 waits for a third
        until(lambda: pair.one.standing(0).waits)
        with pair.one.meeting():  # rank 1 is ahead
            time.sleep(1.8)
            assert pair.heard[1].calls.empty()
            what, (me, ranks, seconds) = pair.heard[1].next()  # type: ignore[misc]
    assert (what, me, ranks) == ("late", 1, [0])
    assert seconds >= 2
    pair.zero.close()
    pair.one.close()


def test_no_time_runs_between_meetings() -> None:
    pair = Pair(patience=0.2)
    with pair.zero.meeting(), pair.one.meeting():
        pass
    time.sleep(1.2)  # local work
    assert pair.heard[0].nothing()
    pair.zero.close()
    pair.one.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_the_kernel_tells_by_what_a_process_died(number: signal.Signals) -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        process.send_signal(number)
        until(lambda: trouble_of_process(process.pid) != "")
        assert trouble_of_process(process.pid) == killed_by(number)
        assert number.name in killed_by(number)
    finally:
        process.wait()
    assert trouble_of_process(process.pid) == "its process is gone"


def test_the_kernel_tells_of_a_stopped_process_and_of_a_status() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import os; input(); os._exit(7)"], stdin=subprocess.PIPE)
    process.send_signal(signal.SIGSTOP)
    until(lambda: trouble_of_process(process.pid) != "")
    assert trouble_of_process(process.pid) == "its process is stopped (SIGSTOP)"
    process.send_signal(signal.SIGCONT)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    until(lambda: "status" in trouble_of_process(process.pid))
    assert trouble_of_process(process.pid) == "its process ended with status 7"
    process.wait()


def test_only_who_knows_the_secret_gets_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as store:  # as torchrun's: it only has to be reached
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(store.getsockname()[1]))
        told: queue.Queue[str] = queue.Queue()
        lines: dict[int, dict[int, socket.socket]] = {}

        def share_of_zero(text: str) -> str:
            host, port, _ = text.split()
            stranger = socket.create_connection((host, int(port)))
            stranger.sendall(b"let me in 1\n")
            silent = socket.create_connection((host, int(port)))
            strangers.extend([stranger, silent])
            for _ in range(2):
                told.put(text)
            return text

        strangers: list[socket.socket] = []

        def dial(rank: int) -> None:
            lines[rank] = connect_lines(rank, 3, lambda _: told.get())

        others = [threading.Thread(target=dial, args=(rank,)) for rank in (1, 2)]
        for other in others:
            other.start()
        lines[0] = connect_lines(0, 3, share_of_zero)
        for other in others:
            other.join()
    assert sorted(lines[0]) == [1, 2]
    for rank in (1, 2):
        lines[rank][0].sendall(f"rank {rank}".encode())
        assert lines[0][rank].recv(20) == f"rank {rank}".encode()
    for line in (*strangers, *lines[0].values(), lines[1][0], lines[2][0]):
        line.close()


def test_without_a_way_to_rank_0_there_are_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")  # nobody listens there
    shared: list[str] = []
    assert connect_lines(0, 2, lambda text: shared.append(text) or text) == {}
    assert shared == [""]
    assert connect_lines(1, 2, lambda text: "") == {}


def test_the_first_to_note_a_failure_is_the_only_one(tmp_path: Path) -> None:
    assert noted_failure(tmp_path) is None
    assert first_to_note(tmp_path, "rank 1 died")
    assert not first_to_note(tmp_path, "rank 0 failed")
    assert noted_failure(tmp_path) == "rank 1 died"
    forget_failure(tmp_path)
    forget_failure(tmp_path)
    assert noted_failure(tmp_path) is None
    assert first_to_note(tmp_path / "nowhere", "better twice than never")


@pytest.mark.parametrize(
    ("before", "now", "again"),
    [
        ({"torchrun": "a"}, {"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "1"}, True),
        ({"torchrun": "a"}, {"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "0"}, False),
        ({"torchrun": "a"}, {"TORCHELASTIC_RUN_ID": "b", "TORCHELASTIC_RESTART_COUNT": "1"}, False),
        ({"torchrun": None}, {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1"}, False),
        ({"torchrun": "a"}, {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, True),
        ({"slurm_job": "7"}, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, True),
        ({"slurm_job": "7"}, {"SLURM_JOB_ID": "7"}, False),  # twice in one job, by hand
        ({"slurm_job": "7"}, {"SLURM_JOB_ID": "8", "SLURM_RESTART_COUNT": "1"}, False),
        ({}, {}, False),
    ],
)
def test_a_launch_that_starts_again_knows_its_run(
    tmp_path: Path, before: dict[str, str | None], now: dict[str, str], again: bool
) -> None:
    launch = {"torchrun": None, "slurm_job": None, **before}
    (tmp_path / "environment.json").write_text(json.dumps({"launch": launch}))
    assert is_started_again(tmp_path, now) is again
    assert not is_started_again(tmp_path / "nothing", now)
