"""argparse for programs that say by their exit status whether their output was lost, or leave a mistake to others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from fedsim.errors import ConfigError
from fedsim.records.console import print_text

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


def without_settings_after_resume(arguments: Sequence[str]) -> list[str]:
    """``--resume`` takes a directory, and in ``--resume rounds=9`` none is named.

    >>> without_settings_after_resume(["--resume", "rounds=9"]), without_settings_after_resume([])
    (['--resume=', 'rounds=9'], [])
    >>> without_settings_after_resume(["--resume", "runs/mine", "rounds=9"])
    ['--resume', 'runs/mine', 'rounds=9']
    """
    following = [*arguments[1:], ""]
    pairs = zip(arguments, following, strict=False)  # of no arguments none follows
    return ["--resume=" if word == "--resume" and "=" in after else word for word, after in pairs]


class Parser(argparse.ArgumentParser):
    """Its ``--help`` fails where the page cannot be written."""

    def print_help(self, file: SupportsWrite[str] | None = None) -> NoReturn:
        self.exit(print_text(self.format_help().rstrip("\n")))


class QuietParser(Parser):
    """Raises ConfigError where argparse would write to the terminal and exit."""

    def error(self, message: str) -> NoReturn:
        usage = " ".join(self.format_usage().split())
        raise ConfigError("command line", message, usage)
