"""Names of sweeps, axes and labels: they become folders, and stand in tables and on terminals."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from fedsim.errors import ConfigError

LONGEST = 250
"""Bytes of a folder's name: file systems take 255, and -2, -3, ... may come behind."""

WITH_LABEL = "write 'label: value' with a short label of letters and digits"


def sweep_name(given: str | None, path: Path) -> str:
    """The name of a sweep, which is that of its folder: the one given, else that of its file.

    >>> sweep_name(None, Path("configs/grid.yaml"))
    'grid'
    """
    name = given or path.stem
    if name.startswith((".", "~")) or "/" in name or not _can_be_shown(name):
        whose = "" if given else ", as the file is"
        raise ConfigError("name", f"no folder of a sweep can be called {name!r}{whose}", "write name: ...")
    return name


def require_labels(axis: str, labels: Iterable[object]) -> None:
    """ConfigError for the name of an axis, or a label on it, that is empty or would move a terminal's cursor."""
    for what, text in (("the name", axis), *(("the label", str(label)) for label in labels)):
        if not text.strip():
            raise ConfigError(f"axes.{axis}", f"{what} {text!r} is empty", WITH_LABEL)
        if not _can_be_shown(text):
            raise ConfigError(f"axes.{axis}", f"{what} {text!r} has a control character", WITH_LABEL)


def as_name(label: str) -> str:
    """A label as part of a path.

    >>> as_name("fang target=mean")
    'fang_target=mean'
    """
    return re.sub(r"[^\w.=+-]+", "_", label).strip("._") or "_"


def require_short(name: str) -> str:
    """The name of a folder, made of labels; ConfigError if it is too long for one."""
    size = len(os.fsencode(name))
    if size > LONGEST:
        problem = f"the labels make a folder's name of {size} bytes, and {LONGEST} are the most: {name}"
        raise ConfigError("axes", problem, WITH_LABEL)
    return name


def in_table(label: str) -> str:
    r"""A label as an entry of a Markdown table.

    >>> print(in_table("a|b"))
    a\|b
    """
    return label.replace("\\", "\\\\").replace("|", "\\|")


def _can_be_shown(text: str) -> bool:
    """Bytes of a file name that is no UTF-8, which Python shows as surrogates, are let through: they are escaped."""
    return re.sub("[\udc80-\udcff]", "?", text).isprintable()
