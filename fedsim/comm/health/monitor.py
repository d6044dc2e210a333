"""Ranks report to each other what they do, over connections that break when a process ends."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from time import monotonic, sleep
from typing import Protocol

from fedsim.comm.health.rank_status import RankStatus

CHECK_EVERY = 0.5
"""Seconds between two checks for late ranks."""

A_MOMENT = 0.5
"""Seconds in which the kernel says how a process ended."""


GIVE_WAY = 30.0
"""Seconds that ranks on other machines leave to the side of rank 0 to say who is late."""


class RankFailureHandler(Protocol):
    """What is done about a rank that does not go on; called in the monitor's thread."""

    def on_death(self, rank: RankStatus, why: str) -> None:
        """Its process has ended."""

    def on_silence(self, me: RankStatus, rank: RankStatus) -> None:
        """Its host does not answer this one any more."""

    def on_leaving(self, rank: RankStatus, reason: str) -> None:
        """It ends because of a failure that has been reported."""

    def on_late(self, me: RankStatus, ranks: Sequence[RankStatus], seconds: float) -> None:
        """This rank has waited so many seconds for the others."""


class Monitor:
    """One rank's connections: of rank 0 to every other rank, of every other rank to rank 0.

    Over them a rank reports what it does, when it waits in a collective, and that it is leaving. A connection that
    breaks without that means that a process has ended: the other end knows it within milliseconds, whatever its main
    thread waits for.

    Args:
        everyone: the status of every rank, by rank.
        connections: connected sockets, by rank.
        patience: seconds that this rank waits for others, longer on other machines than that of rank 0: when a host
            falls silent, both sides wait for each other, and one of them is to speak.
    """

    def __init__(
        self,
        me: int,
        everyone: Mapping[int, RankStatus],
        connections: Mapping[int, socket.socket] | None = None,
        handler: RankFailureHandler | None = None,
        patience: float = float("inf"),
    ) -> None:
        self._me, self._everyone = me, dict(everyone)
        self._connections, self._handler, self._patience = dict(connections or {}), handler, patience
        self._sending, self._closing = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        if self._connections and handler is not None:
            if not self._everyone[0].on_this_machine:
                self._patience += GIVE_WAY
            self._wake, self._woken = socket.socketpair()
            self._thread = threading.Thread(target=self._receive, name="fedsim monitor", daemon=True)
            self._thread.start()

    @property
    def me(self) -> RankStatus:
        """This rank."""
        return self._everyone[self._me]

    def status(self, rank: int) -> RankStatus:
        """What is known of a rank; of what it does, only if there is a connection to it."""
        return self._everyone[rank]

    def report(self, activity: str) -> None:
        """This rank now does something else."""
        self._everyone[self._me] = replace(self.me, activity=activity)
        self._send({"activity": activity})

    @contextmanager
    def collective(self) -> Iterator[None]:
        """A block in which ranks wait for each other; all ranks enter all collectives in the same order."""
        entered = {"collectives": self.me.collectives + 1, "in_collective": True}
        self._everyone[self._me] = replace(self.me, **entered, since=monotonic())  # type: ignore[arg-type]
        self._send(entered)
        try:
            yield
        finally:
            self._everyone[self._me] = replace(self.me, in_collective=False)
            self._send({"in_collective": False})

    def leave(self, reason: str) -> None:
        """This rank is about to end because of a failure, which has been reported."""
        self._send({"leaving": reason})

    def close(self) -> None:
        """Report to the others that this rank has finished, and close the connections; safe to call twice."""
        self._send({"finished": True})
        self._closing.set()
        if self._thread is not None:
            self._wake.close()
            self._thread.join()
            self._woken.close()
        for connection in self._connections.values():
            connection.close()

    def _send(self, facts: Mapping[str, object]) -> None:
        text = f"{json.dumps(facts)}\n".encode()
        with self._sending:
            for connection in self._connections.values():
                with suppress(OSError):  # the thread notices a connection that is broken
                    connection.sendall(text)

    def _receive(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, None)
            for rank, connection in self._connections.items():
                selector.register(connection, selectors.EVENT_READ, (rank, _Messages(connection)))
            while not self._closing.is_set():
                for key, _ in selector.select(CHECK_EVERY):
                    rank, messages = key.data or (self._me, None)
                    if messages is None:  # woken up
                        return
                    if not self._handle(rank, messages):
                        selector.unregister(key.fileobj)
                self._check_for_late_ranks()

    def _handle(self, rank: int, messages: _Messages) -> bool:
        """Act on what a rank reports; whether more may come."""
        assert self._handler is not None
        try:
            arrived = messages.read()
        except OSError:
            self._handler.on_silence(self.me, self._everyone[rank])
            return False
        for facts in arrived or ():
            if "finished" in facts:
                return False
            if "leaving" in facts:
                self._handler.on_leaving(self._everyone[rank], str(facts["leaving"]))
                return False
            self._everyone[rank] = replace(self._everyone[rank], **facts)  # type: ignore[arg-type]
        if arrived is None:
            self._handler.on_death(self._everyone[rank], _cause_of_death(self._everyone[rank]))
        return arrived is not None

    def _check_for_late_ranks(self) -> None:
        """Late is who is absent and does not wait for another rank elsewhere; if nobody is, all that are absent."""
        assert self._handler is not None
        me, waited = self.me, monotonic() - self.me.since
        if not me.in_collective or waited < self._patience:
            return
        others = [self._everyone[rank] for rank in self._connections]
        absent = [rank for rank in others if rank.collectives < me.collectives]
        late = [rank for rank in absent if not rank.in_collective or rank.trouble()]
        if waited > 2 * self._patience + CHECK_EVERY:
            late = late or absent
        if late and me is self.me:
            self._handler.on_late(me, late, waited)


def _cause_of_death(rank: RankStatus) -> str:
    """A connection breaks a moment before the kernel says how its process ended, and torchrun soon cleans up."""
    until = monotonic() + A_MOMENT
    while not (trouble := rank.trouble()) and rank.on_this_machine and monotonic() < until:
        sleep(0.001)
    return trouble or "its process ended, or its host is gone"


class _Messages:
    """Splits what arrives over a connection into messages, one JSON object a line."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._rest = connection, b""

    def read(self) -> list[dict[str, object]] | None:
        """What has arrived; None when the other end is closed. OSError if its host has not answered for too long."""
        try:
            arrived = self._connection.recv(65536)
        except ConnectionError:
            return None
        *whole, self._rest = (self._rest + arrived).split(b"\n")
        return [json.loads(text) for text in whole] if arrived else None
