"""Ports for servers that other programs start."""

import os
import random
import re
import socket
from pathlib import Path

LOWEST = 21_000  # below are those at which the nodes of a SLURM job meet: slurm/job.sh
WORKERS = 16
"""So many workers of pytest-xdist never draw the same port."""


def free_port() -> int:
    """A port at which nobody listens, and that the kernel gives to nobody who asks for any port.

    A port that was just free is soon taken: by a connection, or by a test in another worker that asks for one, too.
    """
    worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0) % WORKERS
    candidates = list(range(LOWEST + worker, _first_of_the_kernel(), WORKERS))
    random.SystemRandom().shuffle(candidates)
    for port in [*candidates, 0]:
        try:
            with socket.create_server(("127.0.0.1", port)) as server:
                return int(server.getsockname()[1])
        except OSError:  # somebody listens
            continue
    raise AssertionError("no port is free")


def _first_of_the_kernel() -> int:
    """The lowest port that the kernel gives to connections, and to those who ask for any."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768
