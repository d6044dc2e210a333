"""At which addresses ranks look for each other: on one host at 127.0.0.1, without names, else as configured."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableMapping

from fedsim.comm.place import RankPlace
from fedsim.errors import ConfigError

INTERFACE = "GLOO_SOCKET_IFNAME"

OF_THIS_HOST = "127.0.0.1"


def settle_addresses(place: RankPlace, environment: MutableMapping[str, str] = os.environ) -> None:
    """Before the ranks connect: leave nothing to names on one host, and check what is said on several.

    torchrun gives the ranks its host's name, and gloo looks it up again; in containers it is often unknown.

    Raises:
        ConfigError: over several hosts, no such interface, or an unknown name; the message names the variable.
    """
    if place.local_size == place.size:
        environment["MASTER_ADDR"] = OF_THIS_HOST
        loopback = next((name for name in _interfaces() if name.startswith("lo")), None)
        if loopback is not None:
            environment[INTERFACE] = loopback
        return
    _check_interface(environment.get(INTERFACE, ""), _interfaces())
    _check_master(environment.get("MASTER_ADDR", ""))


def _interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _check_interface(wanted: str, here: Iterable[str]) -> None:
    missing = [name for name in wanted.split(",") if wanted and name not in here]
    if missing:
        problem = f"host {socket.gethostname()} has no network interface '{missing[0]}'"
        raise ConfigError(INTERFACE, problem, f"unset it, or name one of {', '.join(here)}")


def _check_master(name: str) -> None:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        problem = f"host {socket.gethostname()} cannot resolve '{name}', where the ranks are to meet"
        remedy = "start torchrun with --local-addr=ADDRESS on every host, an address that the others reach"
        raise ConfigError("MASTER_ADDR", problem, remedy) from None


def advice(place: RankPlace, environment: MutableMapping[str, str] = os.environ) -> str:
    """What to do where the ranks cannot connect."""
    if place.local_size == place.size:
        return "is the loopback interface up (ip link set lo up)?"
    own = _own_address()
    if INTERFACE not in environment and (own is None or own.startswith("127.")):
        means = f"means {own}, which other hosts do not reach" if own else "cannot be resolved"
        return f"set {INTERFACE}, because the name of host {socket.gethostname()} {means}"
    return "after a restart over several hosts, set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun"


def _own_address() -> str | None:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return None
