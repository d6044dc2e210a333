"""Ranks that monitor each other: over real sockets, in threads of one process."""

import errno
import os
import queue
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fedsim.comm.health.monitor import Monitor
from fedsim.comm.health.rank_status import RankStatus
from support.waiting import wait_until


class Heard:
    """A handler that keeps what it is called with."""

    def __init__(self) -> None:
        self.calls: queue.Queue[tuple[str, Any]] = queue.Queue()

    def on_death(self, rank: RankStatus, why: str) -> None:
        self.calls.put(("gone", (rank.rank, rank.activity, why)))

    def on_silence(self, me: RankStatus, rank: RankStatus) -> None:
        self.calls.put(("silent", (me.rank, rank.rank)))

    def on_leaving(self, rank: RankStatus, reason: str) -> None:
        self.calls.put(("leaving", (rank.rank, reason)))

    def on_late(self, me: RankStatus, ranks: Sequence[RankStatus], seconds: float) -> None:
        self.calls.put(("late", (me.rank, [rank.rank for rank in ranks], seconds)))

    def next(self) -> tuple[str, Any]:
        return self.calls.get(timeout=60)

    def nothing(self) -> bool:
        time.sleep(0.3)
        return self.calls.empty()


class Pair:
    """Rank 0 and rank 1, with a connection between them."""

    def __init__(self, patience: float = 1e9) -> None:
        here, there = socket.socketpair()
        everyone = {rank: RankStatus(rank=rank) for rank in range(2)}
        self.heard = Heard(), Heard()
        self.zero = Monitor(0, everyone, {1: here}, self.heard[0], patience)
        self.one = Monitor(1, everyone, {0: there}, self.heard[1], patience)
        self.line_of_one = there


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.zero.close()
    made.one.close()


def test_what_a_rank_does_is_known_at_the_other_end(pair: Pair) -> None:
    pair.one.report("phase 'local_work', client 5")
    with pair.one.collective():
        pass
    wait_until(lambda: pair.zero.status(1).collectives == 1)
    assert pair.zero.status(1).activity == "phase 'local_work', client 5"
    assert pair.zero.me.collectives == 0


def test_a_connection_that_breaks_counts_as_the_death_of_its_rank(pair: Pair) -> None:
    pair.one.report("phase 'evaluate'")
    wait_until(lambda: pair.zero.status(1).activity == "phase 'evaluate'")
    pair.line_of_one.shutdown(socket.SHUT_RDWR)
    what, (rank, activity, why) = pair.heard[0].next()
    assert (what, rank, activity) == ("gone", 1, "phase 'evaluate'")
    assert why == "its process ended, or its host is gone"  # this one has not


class Unanswered:
    """A connection to a host that does not answer: the kernel has given up."""

    def __init__(self, error: OSError) -> None:
        self._error, (self._here, self._there) = error, socket.socketpair()
        self._there.close()

    def fileno(self) -> int:
        return self._here.fileno()

    def recv(self, size: int) -> bytes:
        raise self._error

    def sendall(self, text: bytes) -> None:
        raise self._error

    def close(self) -> None:
        self._here.close()


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (errno.ETIMEDOUT, "silent"),
        (errno.EHOSTUNREACH, "silent"),
        (errno.ENETUNREACH, "silent"),
        (errno.ECONNRESET, "gone"),
    ],
)
@pytest.mark.parametrize("me", [0, 1])
def test_a_host_that_does_not_answer_is_no_death_of_a_process(me: int, number: int, what: str) -> None:
    heard, line = Heard(), Unanswered(OSError(number, os.strerror(number)))
    everyone = {rank: RankStatus(rank=rank, machine=f"machine {rank}") for rank in range(2)}
    monitor = Monitor(me, everyone, {1 - me: line}, heard)  # type: ignore[dict-item]
    said, facts = heard.next()
    assert said == what
    assert facts[:2] == ((me, 1 - me) if what == "silent" else (1 - me, "phase 'start'"))
    monitor.close()


def test_the_machine_of_rank_0_is_the_first_to_say_who_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a host reports that has fallen silent does not come, so that each side waits for the other."""
    monkeypatch.setattr("fedsim.comm.health.monitor.GIVE_WAY", 3.0)
    heard, pairs = (Heard(), Heard()), (socket.socketpair(), socket.socketpair())
    sides = []
    for me, other in ((0, 1), (1, 0)):
        everyone = {me: RankStatus(rank=me), other: RankStatus(rank=other, machine="another")}
        sides.append(Monitor(me, everyone, {other: pairs[me][0]}, heard[me], patience=0.3))
    with sides[0].collective(), sides[1].collective():
        assert heard[0].next()[1][:2] == (0, [1])
        assert heard[1].calls.empty()
        assert heard[1].next()[1][:2] == (1, [0])  # in the end nobody else has
    for side in sides:
        side.close()
    for _, nobody in pairs:
        nobody.close()


def test_who_leaves_with_a_reason_did_not_die(pair: Pair) -> None:
    pair.one.leave("ValueError: boom")
    assert pair.heard[0].next() == ("leaving", (1, "ValueError: boom"))
    pair.line_of_one.shutdown(socket.SHUT_RDWR)
    assert pair.heard[0].nothing()


def test_who_has_finished_did_not_die(pair: Pair) -> None:
    pair.one.close()
    assert pair.heard[0].nothing()
    pair.zero.report("goes on")  # and nobody minds
    pair.one.close()
    assert pair.heard[1].nothing()


def test_who_does_not_come_is_late_and_who_waits_is_not() -> None:
    pair = Pair(patience=0.8)
    with pair.zero.collective():
        what, (me, ranks, seconds) = pair.heard[0].next()
    assert (what, me, ranks) == ("late", 0, [1])
    assert 0.8 <= seconds < 10
    pair.zero.close()
    pair.one.close()


def test_two_who_wait_for_a_third_do_not_blame_each_other() -> None:
    pair = Pair(patience=0.2)
    with pair.zero.collective(), pair.one.collective():
        time.sleep(1.5)
    assert pair.heard[0].nothing()
    assert pair.heard[1].nothing()
    pair.zero.close()
    pair.one.close()


def test_who_waits_elsewhere_for_a_third_is_blamed_only_after_twice_the_time() -> None:
    pair = Pair(patience=2.0)
    with pair.zero.collective(), pair.one.collective():  # the broadcast, where rank 0 waits for a third
        wait_until(lambda: pair.one.status(0).in_collective)
        with pair.one.collective():  # rank 1 is ahead
            time.sleep(3)
            assert pair.heard[1].calls.empty()
            what, (me, ranks, seconds) = pair.heard[1].next()
    assert (what, me, ranks) == ("late", 1, [0])
    assert seconds >= 4
    pair.zero.close()
    pair.one.close()


def test_no_time_runs_between_meetings() -> None:
    pair = Pair(patience=0.2)
    with pair.zero.collective(), pair.one.collective():
        pass
    time.sleep(1.2)  # local work
    assert pair.heard[0].nothing()
    pair.zero.close()
    pair.one.close()
