"""Connecting the ranks' lines: rank 0 listens at a free port for a moment, the others dial it."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic

DIALLING = 20.0
"""Seconds that connecting all lines may take."""

Share = Callable[[str], str]
"""Hands a text of rank 0 to all ranks."""


def connect_lines(rank: int, ranks: int, share: Share) -> dict[int, socket.socket]:
    """Sockets between rank 0 and the others, by rank at the other end; some are missing if they cannot be had.

    Every rank calls it alike. Nobody who has not been told rank 0's secret gets a line.
    """
    if rank == 0:
        return _listen(ranks, share)
    host, port, secret = (share("").split() or ["", "0", ""])[:3]
    try:
        line = socket.create_connection((host, int(port)), timeout=DIALLING)
        line.sendall(f"{secret} {rank}\n".encode())
    except OSError:
        return {}
    return {0: _kept_alive(line)}


def _listen(ranks: int, share: Share) -> dict[int, socket.socket]:
    try:
        listener, host = _open_listener(ranks), _name_of_this_host()
    except (OSError, ValueError):
        share("")
        return {}
    with listener:
        secret = secrets.token_hex(16)
        share(f"{host} {listener.getsockname()[1]} {secret}")
        return dict(_accept(listener, secret, ranks - 1))


def _open_listener(backlog: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("", 0), backlog=backlog)


def _name_of_this_host() -> str:
    """A name or address under which the other ranks reach this host.

    They reach torchrun's store, so: its name if it is here, else the address from which this host reaches it.
    """
    store, port = os.environ.get("MASTER_ADDR", "localhost"), int(os.environ.get("MASTER_PORT", "0"))
    with socket.create_connection((store, port), timeout=DIALLING) as line:
        mine, its = line.getsockname()[0], line.getpeername()[0]
    return store if mine == its else str(mine)


def _accept(listener: socket.socket, secret: str, expected: int) -> Iterator[tuple[int, socket.socket]]:
    until, found = monotonic() + DIALLING, 0
    while found < expected and monotonic() < until:
        listener.settimeout(max(0.01, until - monotonic()))
        with suppress(OSError):
            line, _ = listener.accept()
            line.settimeout(2.0)
            word, _, rank = _first_line(line).partition(" ")
            if secrets.compare_digest(word, secret):
                found += 1
                yield int(rank), _kept_alive(line)
            else:
                line.close()


def _first_line(line: socket.socket) -> str:
    """Byte by byte, so that nothing of what follows is taken."""
    text = b""
    while not text.endswith(b"\n") and len(text) < 64:
        byte = line.recv(1)
        if not byte:
            break
        text += byte
    return text.decode("ascii", errors="ignore").strip()


def _kept_alive(line: socket.socket) -> socket.socket:
    """Without delay; and a host that is gone, which sends not even an end, is noticed after half a minute."""
    line.settimeout(None)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # In seconds: when the kernel begins to ask, how often; in milliseconds: how long what was sent may be unanswered.
    waits = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
    for option, value in waits.items():
        if hasattr(socket, option):
            line.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return line
