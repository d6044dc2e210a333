"""TCP connections between rank 0 and every other rank: rank 0 listens at a free port, the others connect."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from time import monotonic

from fedsim.comm.health.greetings import accept_ranks, greet

CONNECT_TIMEOUT = 20.0
"""Seconds that connecting all ranks may take."""

BACKLOG = 128
"""Connections that the kernel holds until they are accepted."""

Share = Callable[[str], str]
"""Brings a text of rank 0 to all ranks."""


def connect_ranks(rank: int, ranks: int, share: Share) -> dict[int, socket.socket]:
    """Sockets between rank 0 and the others, by rank at the other end; some are missing if they cannot be had.

    Every rank calls it alike. Only who knows the secret that rank 0 has shared gets a connection.
    """
    if rank == 0:
        return _listen(ranks, share)
    host, port, secret = (share("").split() or ["", "0", ""])[:3]
    if not host:
        return {}
    connection = greet((host, int(port)), secret, rank, monotonic() + CONNECT_TIMEOUT)
    return {} if connection is None else {0: _kept_alive(connection)}


def _listen(ranks: int, share: Share) -> dict[int, socket.socket]:
    try:
        listener, host = _open_listener(max(ranks, BACKLOG)), _name_of_this_host()
    except (OSError, ValueError):
        share("")
        return {}
    with listener:
        secret = secrets.token_hex(16)
        share(f"{host} {listener.getsockname()[1]} {secret}")
        found = accept_ranks(listener, secret, ranks, monotonic() + CONNECT_TIMEOUT)
    return {rank: _kept_alive(connection) for rank, connection in found.items()}


def _open_listener(backlog: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("", 0), backlog=backlog)


def _name_of_this_host() -> str:
    """A name or address under which the other ranks reach this host.

    They reach torchrun's store, so: its name if it is here, else the address from which this host reaches it.
    """
    store, port = os.environ.get("MASTER_ADDR", "localhost"), int(os.environ.get("MASTER_PORT", "0"))
    with socket.create_connection((store, port), timeout=CONNECT_TIMEOUT) as connection:
        mine, its = connection.getsockname()[0], connection.getpeername()[0]
    return store if mine == its else str(mine)


def _kept_alive(connection: socket.socket) -> socket.socket:
    """Send without delay, and notice within half a minute that a host is gone that closed nothing."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # In seconds: when the kernel begins to ask, how often; in milliseconds: how long data may be unacknowledged.
    keepalive = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
    for option, value in keepalive.items():
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return connection
