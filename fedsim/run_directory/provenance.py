"""Where a run comes from: what was typed, and which commit of fedsim ran."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

GIT_SECONDS = 10.0


@dataclass(frozen=True)
class Provenance:
    """What was typed.

    Attributes:
        command: the words of the command line.
    """

    command: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """The command line, and the commit of fedsim."""
        return {
            "command": shlex.join(self.command),
            "folder": str(Path.cwd()),
            "git": commit_of(ROOT),
        }


def commit_of(checkout: Path) -> dict[str, Any] | None:
    """The commit of a checkout of fedsim, and whether files differ from it; None where it is no checkout.

    A new file counts where it would be imported, in ``fedsim/``.
    """
    if not (checkout / ".git").exists():  # else git would take that of a folder above
        return None
    commit, status = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain")
    if commit is None or status is None:
        return None
    changes = [line for line in status.splitlines() if not line.startswith("??") or line[3:].startswith("fedsim/")]
    return {"commit": commit.strip(), "dirty": bool(changes)}


def _git(checkout: Path, *arguments: str) -> str | None:
    """What git says; None where it is not installed, or refuses."""
    safe = f"safe.directory={checkout}"  # others may own the checkout
    command = ["git", "-C", str(checkout), "-c", safe, "--no-optional-locks", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
