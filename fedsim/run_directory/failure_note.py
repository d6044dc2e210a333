"""``failure.txt`` in a run's directory: the one sentence about how it failed."""

import os
from contextlib import suppress
from pathlib import Path

from fedsim.run_directory.damage import make_way_for, read_bytes

NAME = "failure.txt"


def record_failure(directory: Path, sentence: str) -> bool:
    """Write the sentence, unless a failure of this run is recorded already; whether this rank was the first.

    Where nothing can be written, every rank is the first: better said twice than not at all.
    """
    try:
        descriptor = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return not (directory / NAME).is_file()
    except OSError:
        return True
    with suppress(OSError):
        os.write(descriptor, f"{sentence}\n".encode("utf-8", "backslashreplace"))
    os.close(descriptor)
    return True


def recorded_failure(directory: Path) -> str | None:
    """How the run failed; None if it did not, or could not be recorded."""
    return read_bytes(directory / NAME).decode("utf-8", "replace").strip() or None


def clear_failure(directory: Path) -> None:
    """Before a run goes on: its failure is in the past."""
    with suppress(OSError):
        make_way_for(directory / NAME)
        (directory / NAME).unlink()
