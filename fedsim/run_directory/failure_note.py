"""``failure.txt`` in a run's directory: the one sentence about how it failed."""

import os
from contextlib import suppress
from pathlib import Path

NAME = "failure.txt"


def first_to_note(directory: Path, sentence: str) -> bool:
    """Whether nobody has noted a failure of this run before; the sentence is then noted.

    Where nothing can be written, everybody is first: better said twice than not at all.
    """
    try:
        descriptor = os.open(directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    except OSError:
        return True
    with suppress(OSError):
        os.write(descriptor, f"{sentence}\n".encode())
    os.close(descriptor)
    return True


def noted_failure(directory: Path) -> str | None:
    """How the run failed; None if it did not, or could not say."""
    try:
        return (directory / NAME).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def forget_failure(directory: Path) -> None:
    """Before a run goes on: what it failed of is over."""
    with suppress(OSError):
        (directory / NAME).unlink()
