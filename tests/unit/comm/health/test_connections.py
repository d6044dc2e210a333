"""Connections between ranks, and strangers at rank 0's port."""

import errno
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from fedsim.comm.health.connections import connect_ranks
from fedsim.comm.health.greetings import ANSWER, MANY, greet

Address = tuple[str, int]
Held = list[socket.socket]
SOON = 8.0
"""Seconds; the old limit for one stranger was 2 for each of its bytes."""


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As torchrun's: it only has to be reached."""
    with socket.create_server(("127.0.0.1", 0)) as store:
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(store.getsockname()[1]))
        yield


def connected(ranks: int, before: Callable[[Address, Held], None], held: Held) -> float:
    """Connect ranks in threads of this process; strangers come before them. Returns the seconds that it took."""
    shared: queue.Queue[str] = queue.Queue()
    lines: dict[int, dict[int, socket.socket]] = {}

    def share_of_zero(text: str) -> str:
        host, port, _ = text.split()
        before((host, int(port)), held)
        for _ in range(1, ranks):
            shared.put(text)
        return text

    def connect(rank: int) -> None:
        lines[rank] = connect_ranks(rank, ranks, lambda _: shared.get())

    others = [threading.Thread(target=connect, args=(rank,)) for rank in range(1, ranks)]
    for other in others:
        other.start()
    started = time.monotonic()
    lines[0] = connect_ranks(0, ranks, share_of_zero)
    seconds = time.monotonic() - started
    for other in others:
        other.join()
    assert sorted(lines[0]) == list(range(1, ranks))
    for rank in range(1, ranks):
        lines[rank][0].sendall(f"rank {rank}".encode())
        assert lines[0][rank].recv(20) == f"rank {rank}".encode()
    for line in (*lines[0].values(), *(lines[rank][0] for rank in range(1, ranks)), *held):
        line.close()
    return seconds


def stranger(address: Address, held: Held, words: bytes = b"") -> socket.socket:
    held.append(socket.create_connection(address))
    held[-1].sendall(words)
    return held[-1]


def knows_no_secret(address: Address, held: Held) -> None:
    for words in (b"let me in 1\n", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 9, b"\xff\xfe\0" * 30):
        stranger(address, held, words)


def says_nothing(address: Address, held: Held) -> None:
    for _ in range(5):
        stranger(address, held)


def says_one_byte_after_another(address: Address, held: Held) -> None:
    slow = stranger(address, held)

    def trickle() -> None:
        with suppress(OSError):
            for _ in range(60):
                slow.sendall(b"7")
                time.sleep(0.2)

    threading.Thread(target=trickle, daemon=True).start()


def says_megabytes(address: Address, held: Held) -> None:
    loud = stranger(address, held)

    def shout() -> None:
        with suppress(OSError):
            loud.sendall(bytes(50_000_000))

    threading.Thread(target=shout, daemon=True).start()


def goes_at_once(address: Address, held: Held) -> None:
    for number in range(20):
        stranger(address, held, b"half a greet"[:number]).close()


@pytest.mark.parametrize(
    "before", [knows_no_secret, says_nothing, says_one_byte_after_another, says_megabytes, goes_at_once]
)
def test_a_stranger_costs_nothing(before: Callable[[Address, Held], None]) -> None:
    assert connected(4, before, []) < SOON


def test_thousands_of_strangers_do_not_keep_ranks_out() -> None:
    """They come all the time, and more of them than are kept."""
    stop = threading.Event()

    def crowd(address: Address, held: Held) -> None:
        def come() -> None:
            while not stop.is_set():
                with suppress(OSError):
                    stranger(address, held, b"?")
                while len(held) > 2 * MANY:
                    held.pop(0).close()

        threading.Thread(target=come, daemon=True).start()
        time.sleep(0.1)

    try:
        assert connected(4, crowd, []) < 2 * SOON
    finally:
        stop.set()


def test_strangers_that_take_the_last_descriptor_give_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten are left for rank 0 alone: a limit of this process would take them from the other ranks, too."""
    accept = socket.socket.accept
    accepted: list[socket.socket] = []

    def accept_while_there_are_ten(listener: socket.socket) -> tuple[socket.socket, Address]:
        accepted[:] = [connection for connection in accepted if connection.fileno() >= 0]
        if len(accepted) >= 10:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        connection, address = accept(listener)
        accepted.append(connection)
        return connection, address

    def take_all(address: Address, held: Held) -> None:
        for _ in range(30):
            stranger(address, held)

    monkeypatch.setattr(socket.socket, "accept", accept_while_there_are_ten)
    assert connected(3, take_all, []) < 2 * SOON
    assert all(connection.fileno() < 0 for connection in accepted)


def test_a_rank_whose_connection_is_closed_comes_again() -> None:
    """Too many strangers came, and rank 0 has closed the oldest of its connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as threads:
        address = listener.getsockname()[:2]
        coming = threads.submit(greet, address, "secret", 7, time.monotonic() + 20)
        listener.accept()[0].close()
        connection, _ = listener.accept()
        assert connection.recv(100) == b"secret 0000000007\n"
        connection.sendall(ANSWER)
        line = coming.result()
        assert line is not None
        line.close()
        connection.close()


def test_without_a_way_to_rank_0_there_are_no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "1")  # nobody listens there
    shared: list[str] = []

    def share(text: str) -> str:
        shared.append(text)
        return text

    assert connect_ranks(0, 2, share) == {}
    assert shared == [""]
    assert connect_ranks(1, 2, lambda text: "") == {}
