"""Ranks tell each other what they are doing, over lines that break when a process ends."""

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

from fedsim.comm.health.rank_status import Standing

LOOK_EVERY = 0.5
"""Seconds between two looks for ranks that are late."""

A_MOMENT = 0.5
"""Seconds in which the kernel tells how a process ended."""


class Alarm(Protocol):
    """What is done about a rank that does not go on; called in the watch's own thread."""

    def gone(self, rank: Standing, why: str) -> None:
        """Its process has ended."""

    def leaving(self, rank: Standing, reason: str) -> None:
        """It fails, and has said why."""

    def late(self, me: Standing, ranks: Sequence[Standing], seconds: float) -> None:
        """This rank has waited so long for the others."""


class Watch:
    """One rank's lines: of rank 0 to every other rank, of every other rank to rank 0.

    A rank says over them what it is doing, where it waits, and that it is leaving. A line that breaks without that
    means that a process is gone: the other end knows it within milliseconds, whatever its main thread waits for.

    Args:
        everyone: the ranks' standings, by rank.
        lines: connected sockets, by rank.
        patience: seconds that this rank waits for others.
    """

    def __init__(
        self,
        me: int,
        everyone: Mapping[int, Standing],
        lines: Mapping[int, socket.socket] | None = None,
        alarm: Alarm | None = None,
        patience: float = float("inf"),
    ) -> None:
        self._me, self._everyone = me, dict(everyone)
        self._lines, self._alarm, self._patience = dict(lines or {}), alarm, patience
        self._speaking, self._closing = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        if self._lines and alarm is not None:
            self._wake, self._woken = socket.socketpair()
            self._thread = threading.Thread(target=self._listen, name="fedsim watch", daemon=True)
            self._thread.start()

    @property
    def me(self) -> Standing:
        """This rank."""
        return self._everyone[self._me]

    def standing(self, rank: int) -> Standing:
        """What is known of a rank; of what it does, only if there is a line to it."""
        return self._everyone[rank]

    def tell(self, activity: str) -> None:
        """This rank now does something else."""
        self._everyone[self._me] = replace(self.me, activity=activity)
        self._say({"activity": activity})

    @contextmanager
    def meeting(self) -> Iterator[None]:
        """A block in which ranks wait for each other; all ranks come to all meetings in the same order."""
        self._everyone[self._me] = replace(self.me, meetings=self.me.meetings + 1, waits=True, since=monotonic())
        self._say({"meetings": self.me.meetings, "waits": True})
        try:
            yield
        finally:
            self._everyone[self._me] = replace(self.me, waits=False)
            self._say({"waits": False})

    def leave(self, reason: str) -> None:
        """This rank is about to end because of a failure, which has been told."""
        self._say({"leaving": reason})

    def close(self) -> None:
        """Tell the others that this rank has finished, and give the lines back; safe to call twice."""
        self._say({"finished": True})
        self._closing.set()
        if self._thread is not None:
            self._wake.close()
            self._thread.join()
            self._woken.close()
        for line in self._lines.values():
            line.close()

    def _say(self, facts: Mapping[str, object]) -> None:
        text = f"{json.dumps(facts)}\n".encode()
        with self._speaking:
            for line in self._lines.values():
                with suppress(OSError):  # whoever is gone is noticed by the thread
                    line.sendall(text)

    def _listen(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ, None)
            for rank, line in self._lines.items():
                selector.register(line, selectors.EVENT_READ, (rank, _Messages(line)))
            while not self._closing.is_set():
                for key, _ in selector.select(LOOK_EVERY):
                    rank, messages = key.data or (self._me, None)
                    if messages is None:  # woken up
                        return
                    if not self._hear(rank, messages.read()):
                        selector.unregister(key.fileobj)
                self._look_for_late_ranks()

    def _hear(self, rank: int, messages: list[dict[str, object]] | None) -> bool:
        """Take note; whether the rank may say more."""
        assert self._alarm is not None
        for facts in messages or ():
            if "finished" in facts:
                return False
            if "leaving" in facts:
                self._alarm.leaving(self._everyone[rank], str(facts["leaving"]))
                return False
            self._everyone[rank] = replace(self._everyone[rank], **facts)  # type: ignore[arg-type]
        if messages is None:
            self._alarm.gone(self._everyone[rank], _why_gone(self._everyone[rank]))
        return messages is not None

    def _look_for_late_ranks(self) -> None:
        """Who has not come and does not wait elsewhere for another is late; if nobody is, all who have not come."""
        assert self._alarm is not None
        me, waited = self.me, monotonic() - self.me.since
        if not me.waits or waited < self._patience:
            return
        absent = [self._everyone[rank] for rank in self._lines if self._everyone[rank].meetings < me.meetings]
        late = [rank for rank in absent if not rank.waits or rank.trouble()]
        if waited > 2 * self._patience + LOOK_EVERY:
            late = late or absent
        if late and me is self.me:
            self._alarm.late(me, late, waited)


def _why_gone(rank: Standing) -> str:
    """The line of a process breaks a moment before the kernel tells how it ended, and torchrun soon tidies up."""
    until = monotonic() + A_MOMENT
    while not (trouble := rank.trouble()) and rank.is_here and monotonic() < until:
        sleep(0.001)
    return trouble or "its process ended, or its host is gone"


class _Messages:
    """Takes what arrives at a line apart into messages, one JSON object a line."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self._rest = line, b""

    def read(self) -> list[dict[str, object]] | None:
        """What has arrived; None when nothing will any more."""
        try:
            arrived = self._line.recv(65536)
        except OSError:
            return None
        *whole, self._rest = (self._rest + arrived).split(b"\n")
        return [json.loads(text) for text in whole] if arrived else None
