"""Results of a cell that count no more: another version of fedsim, or of a plugin, has made them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fedsim.build.given_settings import decisive_settings
from fedsim.config.source import read_yaml
from fedsim.errors import ConfigError, counted
from fedsim.records.summary import read_summary
from fedsim.results_version import RESULTS_VERSION
from fedsim.run_directory.damage import read_json
from fedsim.run_directory.directory import CONFIG, results_version
from fedsim.run_directory.launch_facts import ENVIRONMENT
from fedsim.sweep.plan import NO_OTHER_CELL, Cell


@dataclass(frozen=True)
class EarlierResults:
    """A finished run of a cell's settings that is not the cell's.

    Attributes:
        what: it has, in words.
        maker: what made it, in words.
    """

    directory: Path
    what: str
    maker: str

    def __str__(self) -> str:
        return f"{self.what} in {self.directory}"


def earlier_results(cell: Cell) -> EarlierResults | None:
    """The latest run of the settings of a cell that was finished under another hash; None if there is none.

    Runs of a cell differ by the hash at the end of their name only; so only those are looked at.
    """
    beginning = cell.directory.name.removesuffix(cell.config_hash)
    name, folder = re.compile(re.escape(beginning) + r"[0-9a-f]{8}(-\d+)?"), cell.directory.parent
    paths = [path for path in folder.glob("*") if name.fullmatch(path.name) and _is_finished(path)]
    wanted = decisive_settings(cell.config, NO_OTHER_CELL) if paths else {}
    for path in sorted(paths, key=lambda path: (path / ENVIRONMENT).stat().st_mtime, reverse=True):
        found = _described(path)
        if found is not None and _settings(path) == wanted:
            return found
    return None


def earlier_lines(found: Iterable[EarlierResults | None]) -> Iterator[str]:
    """A line for each kind of earlier results, and what becomes of their cells."""
    kinds = Counter((one.what, one.maker) for one in found if one is not None)
    for (what, maker), count in kinds.items():
        has, again = ("has", "it is run again") if count == 1 else ("have", "they are run again")
        yield f"{counted(count, 'cell')} {has} {what}, made by {maker}: {again}; --status shows where they lie"


def _is_finished(directory: Path) -> bool:
    return read_summary(directory).get("status") == "completed" and (directory / ENVIRONMENT).exists()


def _described(directory: Path) -> EarlierResults | None:
    """What a run has; None if nothing is known that would make another cell of it."""
    version = results_version(directory)
    if version is not None and version != RESULTS_VERSION:
        age = "an older" if version < RESULTS_VERSION else "a newer"
        return EarlierResults(directory, f"results of version {version}", f"{age} fedsim")
    if version is not None and read_json(directory / ENVIRONMENT).get("plugins"):
        return EarlierResults(directory, "results of other plugins", "another version of a --plugin")
    return None


def _settings(directory: Path) -> object:
    try:
        return decisive_settings(read_yaml(directory / CONFIG), NO_OTHER_CELL)
    except ConfigError:
        return None
