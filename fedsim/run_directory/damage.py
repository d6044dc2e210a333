"""What is damaged in a run's directory: read without failing, and put aside by name."""

import json
import logging
from itertools import count
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

DAMAGED, FOREIGN = ".damaged", ".foreign"


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty where there is none that can be read."""
    try:
        values = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError):  # not to be read, cut off, no UTF-8, or thousands of brackets
        return {}
    return values if isinstance(values, dict) else {}


def read_bytes(path: Path) -> bytes:
    """What a file holds; nothing where there is no file (a pipe would keep its reader).

    Raises:
        OSError: there is one, and it cannot be read: what it holds is not lost, and must not be overwritten.
    """
    return path.read_bytes() if path.is_file() else b""


def put_aside(path: Path, suffix: str = DAMAGED) -> Path:
    """Rename a file so that it is neither used nor lost; the new path, which nobody had."""
    names = (path.with_suffix(suffix if number == 1 else f"{suffix}-{number}") for number in count(1))
    aside = next(name for name in names if not name.exists())
    path.rename(aside)
    return aside


def make_way_for(path: Path) -> None:
    """Before a file is written: what is no file and has its name is put aside, with a warning."""
    if path.exists() and not path.is_file():
        log.warning("%s is no file: put aside as %s", path, put_aside(path).name)
