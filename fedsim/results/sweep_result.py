"""A sweep that has been recorded: its cells and the rounds of all of them as data frames."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fedsim.errors import ConfigError, did_you_mean
from fedsim.files import read_text, user_path
from fedsim.results.run_result import RunResult, load_run
from fedsim.run_directory.directory import CONFIG

RESULTS = "results.json"

OF_CELLS = ("state", "accuracy", "rounds", "seconds", "reason", "directory", "config_hash")
"""Columns that every ``results.json`` has and that are no axes."""

MORE_OF_CELLS = re.compile(
    r"results_version|loss|macro_f1|(balanced|worst_client|mean_client)_accuracy|(metrics|validation)\..+"
)
"""Others that are no axes: not every file has them."""


@dataclass(frozen=True)
class SweepResult:
    """What a sweep has left in its folder.

    Attributes:
        folder: of the sweep.
        axes: their names.
        cells: a row per cell: its labels on the axes, then state, accuracy, rounds, seconds, reason, directory, hash,
            version of the results, and the last value of each other metric.
    """

    folder: Path
    axes: Sequence[str]
    cells: pd.DataFrame

    def __repr__(self) -> str:
        states = ", ".join(f"{count} {state}" for state, count in self.cells["state"].value_counts().items())
        return f"SweepResult('{self.folder}': {len(self.cells)} cells over {', '.join(self.axes)}: {states})"

    def run(self, **labels: Any) -> RunResult:
        """The run of the one cell with these labels on the axes, or their first words; seeds may be numbers.

        Raises:
            ConfigError: no cell has them, several have, or the cell has not been run.
        """
        wanted = {axis: self._label(axis, label) for axis, label in labels.items()}
        fitting = [
            place
            for place, row in enumerate(self.cells[list(self.axes)].to_dict("records"))
            if all(row[axis] == label for axis, label in wanted.items())
        ]
        where = ", ".join(f"{axis}={label}" for axis, label in wanted.items())
        if len(fitting) != 1:
            remedy = f"give a label for each of {', '.join(self.axes)} (`cells` lists them)"
            raise ConfigError("", f"{len(fitting) or 'no'} cells have {where or 'any labels'}", remedy)
        return self.run_at(fitting[0])

    def _label(self, axis: str, given: Any) -> str:
        """The label on an axis that is meant: itself, or the one that begins with this word."""
        if axis not in self.axes:
            raise ConfigError(axis, "no such axis", did_you_mean(axis, self.axes))
        label = given if isinstance(given, str) else json.dumps(given)
        known = list(dict.fromkeys(self.cells[axis]))
        meant = [one for one in known if one == label] or [one for one in known if one.split(" ")[0] == label]
        if len(meant) != 1:
            raise ConfigError(axis, f"no cell has '{label}'", did_you_mean(label, known))
        return str(meant[0])

    def runs(self) -> Iterator[tuple[Mapping[str, str], RunResult]]:
        """The labels and the run of each cell that has been started."""
        for place, labels in enumerate(self.cells[list(self.axes)].to_dict("records")):
            directory = self.directory(place)
            if (directory / CONFIG).is_file():
                yield {str(axis): label for axis, label in labels.items()}, self.run_at(place)

    def run_at(self, place: int) -> RunResult:
        """The run of a cell; of one that has more rounds than the sweep, as many as the sweep has.

        Raises:
            ConfigError: the cell has not been run.
        """
        run, cell = load_run(self.directory(place)), self.cells.iloc[place]
        return replace(run, up_to=int(cell["rounds"])) if cell["state"] == "done" else run

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """:attr:`RunResult.metrics` of all cells, behind a column per axis."""
        return self._of_all(lambda run: run.metrics)

    @cached_property
    def clients(self) -> pd.DataFrame:
        """:attr:`RunResult.clients` of all cells, behind a column per axis."""
        return self._of_all(lambda run: run.clients)

    @cached_property
    def attacks(self) -> pd.DataFrame:
        """:attr:`RunResult.attacks` of all cells, behind a column per axis; its own ``attack`` is ``attack_name``."""
        return self._of_all(lambda run: run.attacks)

    @cached_property
    def classes(self) -> pd.DataFrame:
        """:attr:`RunResult.classes` of all cells, behind a column per axis."""
        return self._of_all(lambda run: run.classes)

    def _of_all(self, frame_of: Callable[[RunResult], pd.DataFrame]) -> pd.DataFrame:
        """The frames of all runs; a column of theirs that is called like an axis gets ``_name`` behind it."""
        frames = []
        for labels, run in self.runs():
            frame = frame_of(run).rename(columns={axis: f"{axis}_name" for axis in self.axes})
            frames.append(frame.assign(**labels))
        if not frames:
            return pd.DataFrame(columns=list(self.axes))
        joined = pd.concat(frames, ignore_index=True)
        return joined[[*self.axes, *(name for name in joined.columns if name not in self.axes)]]

    def directory(self, place: int) -> Path:
        """Of a cell's run: below the sweep's folder, wherever that lies by now."""
        parts = Path(self.cells["directory"].iloc[place]).parts
        inside = (self.folder.joinpath(*parts[start:]) for start in range(1, len(parts)))
        return next((path for path in inside if path.is_dir()), Path(*parts))


def load_sweep(directory: str | Path) -> SweepResult:
    """The sweep that is recorded in a folder, as it was when ``results.json`` was written.

    Args:
        directory: ``<output_dir>/<name of the sweep>``.

    Raises:
        ConfigError: no sweep is recorded there.
    """
    folder = user_path(directory, "directory")
    path = folder / RESULTS
    try:
        cells = pd.DataFrame(_records(json.loads(read_text(path))))
        others = [str(name) for name in cells.columns if name not in OF_CELLS]
        axes = [name for name in others if not MORE_OF_CELLS.fullmatch(name)]
        cells = cells[[*axes, *OF_CELLS, *(name for name in others if name not in axes)]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        remedy = "name the folder of a sweep; `python -m fedsim.sweep FILE --status` writes it"
        raise ConfigError("directory", problem, remedy) from None
    return SweepResult(folder, axes, cells)


def _records(content: Any) -> list[dict[str, Any]]:
    """The record of each cell; ValueError if that is not what the file holds."""
    cells = content if isinstance(content, list) else []
    if not cells or not all(isinstance(cell, dict) and cell.keys() >= set(OF_CELLS) for cell in cells):
        raise ValueError("it does not hold a record for each cell")
    return cells
