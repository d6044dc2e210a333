"""``failure.txt`` in a run's directory: the one sentence about how it failed."""

import os
from contextlib import suppress
from pathlib import Path

NAME = "failure.txt"


def record_failure(directory: Path, sentence: str) -> bool:
    """Write the sentence, unless a failure of this run is recorded already; whether this rank was the first.

    Where nothing can be written, every rank is the first: better said twice than not at all.
    """
    try:
        descriptor = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    except OSError:
        return True
    with suppress(OSError):
        os.write(descriptor, f"{sentence}\n".encode("utf-8", "backslashreplace"))
    os.close(descriptor)
    return True


def recorded_failure(directory: Path) -> str | None:
    """How the run failed; None if it did not, or could not be recorded."""
    try:
        return (directory / NAME).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def clear_failure(directory: Path) -> None:
    """Before a run goes on: its failure is in the past."""
    with suppress(OSError):
        (directory / NAME).unlink()
