"""Files that are whole or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """The path that a user wrote, ``~`` being her home."""
    return Path(os.path.expanduser(text))


def folder_exists(path: Path) -> bool:
    """Whether there is a folder; a path that cannot even be looked at has none."""
    try:
        return path.is_dir()
    except OSError:  # a name too long, or a folder above that may not be entered
        return False


def file_exists(path: Path) -> bool:
    """Whether there is a file; a path that cannot even be looked at has none."""
    try:
        return path.is_file()
    except OSError:
        return False


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with whole_or_not_at_all(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes its name when the block ends well and is removed otherwise.

    Several processes may write the same file: each has a part of its own, and the last one's stays.
    """
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
