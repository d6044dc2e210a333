"""Connections between ranks."""

import queue
import socket
import threading

import pytest

from fedsim.comm.health.connections import connect_ranks


def test_only_who_knows_the_secret_gets_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as store:  # as torchrun's: it only has to be reached
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(store.getsockname()[1]))
        secrets: queue.Queue[str] = queue.Queue()
        lines: dict[int, dict[int, socket.socket]] = {}

        def share_of_zero(text: str) -> str:
            host, port, _ = text.split()
            stranger = socket.create_connection((host, int(port)))
            stranger.sendall(b"let me in 1\n")
            silent = socket.create_connection((host, int(port)))
            strangers.extend([stranger, silent])
            for _ in range(2):
                secrets.put(text)
            return text

        strangers: list[socket.socket] = []

        def dial(rank: int) -> None:
            lines[rank] = connect_ranks(rank, 3, lambda _: secrets.get())

        others = [threading.Thread(target=dial, args=(rank,)) for rank in (1, 2)]
        for other in others:
            other.start()
        lines[0] = connect_ranks(0, 3, share_of_zero)
        for other in others:
            other.join()
    assert sorted(lines[0]) == [1, 2]
    for rank in (1, 2):
        lines[rank][0].sendall(f"rank {rank}".encode())
        assert lines[0][rank].recv(20) == f"rank {rank}".encode()
    for line in (*strangers, *lines[0].values(), lines[1][0], lines[2][0]):
        line.close()


def test_without_a_way_to_rank_0_there_are_no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")  # nobody listens there
    shared: list[str] = []

    def share(text: str) -> str:
        shared.append(text)
        return text

    assert connect_ranks(0, 2, share) == {}
    assert shared == [""]
    assert connect_ranks(1, 2, lambda text: "") == {}
