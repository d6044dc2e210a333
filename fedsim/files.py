"""Files that are whole or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
