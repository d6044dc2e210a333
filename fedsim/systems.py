"""Which operating systems fedsim runs on."""

import importlib.util
import signal
import sys

NOT_HERE = "fedsim: this system has no POSIX signals and file locks; use Linux or macOS, on Windows the WSL\n"

MISTAKE = 2


def require_posix() -> None:
    """Leave with one sentence where fedsim cannot run; before the imports that would fail there."""
    if not hasattr(signal, "SIGUSR1") or importlib.util.find_spec("fcntl") is None:
        sys.stderr.write(NOT_HERE)
        raise SystemExit(MISTAKE)
