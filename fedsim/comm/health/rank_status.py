"""Where a rank is and what it is doing, as far as another one knows, and the state of its process."""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic


@dataclass(frozen=True, kw_only=True)
class RankStatus:
    """What is known of a rank.

    Attributes:
        machine: equal for ranks that see each other's processes.
        activity: what it is doing.
        collectives: how many collectives (barrier, broadcast, gather) it has entered.
        in_collective: whether it is in one now, waiting for other ranks.
        since: when this process entered the last one, in seconds of its clock.

    >>> str(RankStatus(rank=2, host="node1", pid=123))
    'rank 2 (host node1, process 123)'
    """

    rank: int
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    machine: str = field(default_factory=lambda: this_machine())
    activity: str = "phase 'start'"
    collectives: int = 0
    in_collective: bool = False
    since: float = field(default_factory=monotonic)

    @classmethod
    def from_text(cls, text: str) -> RankStatus:
        """The status that :meth:`to_text` gave on another rank."""
        rank, host, pid, machine = json.loads(text)
        return cls(rank=rank, host=host, pid=pid, machine=machine)

    def to_text(self) -> str:
        return json.dumps([self.rank, self.host, self.pid, self.machine])

    def __str__(self) -> str:
        return f"rank {self.rank} (host {self.host}, process {self.pid})"

    @property
    def on_this_machine(self) -> bool:
        """Whether this process sees that of the rank."""
        return self.machine == this_machine()

    def trouble(self) -> str:
        """What is wrong with its process; "" if nothing is, or if it cannot be seen from here."""
        return trouble_of_process(self.pid) if self.on_this_machine else ""


def this_machine() -> str:
    """Equal for processes that see each other: same kernel, same namespace of process numbers."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    return f"{socket.gethostname()} without /proc"


def trouble_of_process(pid: int) -> str:
    """What the kernel says of a process that makes no progress; "" if nothing is wrong with it.

    >>> trouble_of_process(os.getpid())
    ''
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "its process is gone" if Path("/proc/self/stat").exists() else ""
    if fields[0] in ("T", "t"):
        return "its process is stopped (SIGSTOP)"
    if fields[0] not in ("Z", "X"):
        return ""
    status = int(fields[-1])  # as waitpid gives it; 0 also where the kernel does not say
    if status & 0x7F:
        return killed_by(status & 0x7F)
    return f"its process ended with status {status >> 8}" if status else "its process has ended"


def killed_by(number: int) -> str:
    """Words for the signal that ended a process.

    >>> killed_by(15)
    'killed by SIGTERM'
    """
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"killed by {name}" + " (by hand, or by the kernel, short of memory)" * (name == "SIGKILL")
