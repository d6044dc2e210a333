"""How rank 0 tells ranks from strangers: anybody can connect to its port, only ranks know the secret.

A rank sends a greeting of fixed length and waits for the answer. Greetings are read side by side, so that a stranger,
who sends something else or nothing, keeps nobody waiting.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from selectors import EVENT_READ, DefaultSelector
from time import monotonic, sleep

ANSWER = b"welcome\n"

MANY = 64
"""Connections without a greeting; when there are more, the oldest is closed. If it was a rank's, that comes again."""

A_MOMENT = 0.1
"""Seconds before a rank comes again."""


def greet(address: tuple[str, int], secret: str, rank: int, until: float) -> socket.socket | None:
    """A connection that rank 0 has answered; None if there is none by then."""
    while (left := until - monotonic()) > 0:
        with suppress(OSError):
            connection = socket.create_connection(address, timeout=left)
            if _is_answered(connection, _greeting(secret, rank)):
                return connection
            connection.close()
        sleep(A_MOMENT)
    return None


def accept_ranks(listener: socket.socket, secret: str, ranks: int, until: float) -> dict[int, socket.socket]:
    """Connections to ranks 1, 2, ... ``ranks`` - 1, by rank; those that have not come by then are missing."""
    expected = {_greeting(secret, rank): rank for rank in range(1, ranks)}
    found: dict[int, socket.socket] = {}
    reception = _Reception(listener, len(_greeting(secret, 0)))
    while len(found) < len(expected) and (left := until - monotonic()) > 0:
        for connection, greeting in reception.arrivals(left):
            rank = expected.get(greeting)
            if rank is None or not _answer(connection):
                connection.close()
            else:
                if rank in found:  # it has come again
                    found[rank].close()
                found[rank] = connection
    reception.close()
    return found


def _greeting(secret: str, rank: int) -> bytes:
    return f"{secret} {rank:010d}\n".encode()


def _is_answered(connection: socket.socket, greeting: bytes) -> bool:
    answer = b""
    with suppress(OSError):
        connection.sendall(greeting)
        while len(answer) < len(ANSWER) and (more := connection.recv(len(ANSWER) - len(answer))):
            answer += more
    return answer == ANSWER


def _answer(connection: socket.socket) -> bool:
    with suppress(OSError):
        connection.sendall(ANSWER)
        return True
    return False


class _Reception:
    """Connections whose greeting has not come in full, the oldest first.

    Args:
        length: of a greeting in bytes; nothing of what follows is taken.
    """

    def __init__(self, listener: socket.socket, length: int) -> None:
        self._listener, self._length = listener, length
        self._selector = DefaultSelector()
        self._waiting: dict[socket.socket, bytes] = {}
        listener.setblocking(False)
        self._selector.register(listener, EVENT_READ, listener)

    def arrivals(self, seconds: float) -> Iterator[tuple[socket.socket, bytes]]:
        """Wait until something comes; connections with their greetings, which are now the caller's."""
        for key, _ in self._selector.select(seconds):
            if key.data is self._listener:
                self._accept()
            elif key.data in self._waiting and self._has_greeted(key.data):
                self._selector.unregister(key.data)
                yield key.data, self._waiting.pop(key.data)

    def close(self) -> None:
        for connection in list(self._waiting):
            self._dismiss(connection)
        self._selector.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:  # it has gone again
            return
        except OSError:  # no descriptor is left, for one
            self._dismiss_oldest()
            return
        connection.setblocking(False)
        self._waiting[connection] = b""
        self._selector.register(connection, EVENT_READ, connection)
        if len(self._waiting) > MANY:
            self._dismiss_oldest()

    def _has_greeted(self, connection: socket.socket) -> bool:
        """Read what has come; who sends no more is dismissed."""
        more = b""
        with suppress(OSError):
            more = connection.recv(self._length - len(self._waiting[connection]))
        self._waiting[connection] += more
        if not more:
            self._dismiss(connection)
        return bool(more) and len(self._waiting[connection]) == self._length

    def _dismiss_oldest(self) -> None:
        if self._waiting:
            self._dismiss(next(iter(self._waiting)))
        else:
            sleep(A_MOMENT)

    def _dismiss(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._waiting[connection]
        connection.close()
