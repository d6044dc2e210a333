"""What a report is about: runs, each with its labels, from sweeps, run directories and folders of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedsim.build.given_settings import given_settings
from fedsim.config.source import differing_keys
from fedsim.errors import ConfigError
from fedsim.files import user_path
from fedsim.results.run_result import RunResult, load_run
from fedsim.results.sweep_result import RESULTS, load_sweep
from fedsim.run_directory.directory import CONFIG

ROWS, COLUMNS, REPEATS = "aggregator", "attack", "seed"
"""The axes of a table: its rows, its columns, and what its means are taken over."""

DATA = "data"

NOT_WHAT_COMES_OUT = ("output_dir", "run_name", "tracking", "checkpoint", "runtime.timeout", "data.placement")
"""Keys in which runs may differ without being different experiments."""

DONE = "done"

MISSING, REPEATED, DAMAGED = "missing", "repeated", "damaged"
"""Of a cell that is done but whose run is gone, of a run that another one with the same settings repeats, and of one
that has lost records, which ``--resume`` restores from their copy."""

NOT_ENDED = ("pending", "queued", "running", "stopped")
"""Of a cell when ``results.json`` was written."""

WHO_ATTACKS = ("attack.num_byzantine", "attack.clients")
"""Left out of an attack's name; an axis where runs differ in nothing else."""

STATES = {"completed": DONE, "interrupted": "stopped", "unfinished": "stopped"}
"""Of a run by its status, in the words of a sweep."""


@dataclass(frozen=True)
class Entry:
    """One run, or a cell of a sweep that has not been run.

    Attributes:
        labels: its place on each axis.
        state: ``done``, ``diverged``, ``failed``, ``stopped``, ``pending``, ``missing``, ...
        run: what there is of it.
        reason: why it failed.
    """

    labels: Mapping[str, str]
    state: str
    run: RunResult | None = None
    reason: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{axis} {label}" for axis, label in self.labels.items() if label)


@dataclass(frozen=True)
class Study:
    """Everything that a report is about.

    Attributes:
        axes: in the order of the labels; those of a table come last.
        entries: one per run.
        rows_are: the axis whose labels are the rows of a table.
    """

    name: str
    axes: Sequence[str]
    entries: Sequence[Entry]
    rows_are: str = ROWS

    def labels(self, axis: str) -> list[str]:
        """The labels on an axis, in the order in which they come up."""
        return list(dict.fromkeys(entry.labels.get(axis, "") for entry in self.entries))

    def choices(self, axes: Sequence[str]) -> list[dict[str, str]]:
        """The labels on these axes that go together in some run, in the order of the labels of each.

        A choice that no run has is left out: of runs that differ in many settings there would be millions.
        """
        orders = [{label: place for place, label in enumerate(self.labels(axis))} for axis in axes]
        found = {tuple(entry.labels.get(axis, "") for axis in axes) for entry in self.entries}

        def place(labels: Sequence[str]) -> list[int]:
            return [order[label] for order, label in zip(orders, labels, strict=True)]

        return [dict(zip(axes, labels, strict=True)) for labels in sorted(found, key=place)]

    @property
    def other_axes(self) -> list[str]:
        """The axes that are neither rows, columns nor repeats of a table."""
        return [axis for axis in self.axes if axis not in (self.rows_are, ROWS, COLUMNS, REPEATS)]


def read_study(paths: Sequence[str | Path]) -> Study:
    """The runs in these directories: each a sweep's, a run's, or one that holds runs and sweeps.

    Raises:
        ConfigError: there are none in one of them.
    """
    folders = [user_path(path, "DIRECTORY") for path in paths]
    sweeps, runs = _found(folders)
    several = len(sweeps) + bool(runs) > 1
    names = _names_apart(sweeps) if several else dict.fromkeys(sweeps, "")
    entries = [entry for folder in sweeps for entry in _cells(folder, names[folder])] + list(_runs(runs))
    axes = list(dict.fromkeys(axis for entry in entries for axis in entry.labels))
    last = [axis for axis in (COLUMNS, ROWS, REPEATS) if axis in axes]
    name = ", ".join(dict.fromkeys(folder.resolve().name for folder in folders))
    study = Study(name, [*(axis for axis in axes if axis not in last), *last], entries)
    differing = [axis for axis in study.other_axes if len(study.labels(axis)) > 1]
    if ROWS not in axes and study.other_axes:
        return _by_another_axis(study, study.other_axes[0])
    if ROWS in axes and len(study.labels(ROWS)) == 1 and len(differing) == 1:
        return _by_another_axis(study, differing[0])
    return study


def _by_another_axis(study: Study, axis: str) -> Study:
    """Of runs of one aggregator, the rows are the labels of another axis, such as a learning rate."""
    entries = [replace(entry, labels={**entry.labels, ROWS: entry.labels.get(axis, "")}) for entry in study.entries]
    return replace(study, entries=entries, rows_are=axis)


def _found(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The folders of sweeps, and those of runs that belong to none."""
    sweeps, runs = [], []
    for folder in folders:
        of_sweeps = [path.parent for path in sorted(folder.rglob(RESULTS))]
        configs = [path.parent for path in sorted(folder.rglob(CONFIG))]
        alone = [path for path in configs if not any(sweep in path.parents for sweep in of_sweeps)]
        if not of_sweeps and not alone:
            problem = f"{folder} holds neither a run nor a sweep"
            remedy = "name a run's or a sweep's directory (of a sweep, `--status` writes its results.json)"
            raise ConfigError("DIRECTORY", problem, remedy)
        sweeps += of_sweeps
        runs += alone
    return list(dict.fromkeys(sweeps)), list(dict.fromkeys(runs))


def _names_apart(folders: Sequence[Path]) -> dict[Path, str]:
    """The names of folders, with those above where they are the same."""
    parts = {folder: folder.resolve().parts for folder in folders}
    names: dict[Path, str] = {}
    for folder, its in parts.items():
        others = [one for other, one in parts.items() if other != folder]
        deep = next((n for n in range(1, len(its)) if all(one[-n:] != its[-n:] for one in others)), len(its))
        names[folder] = "/".join(its[-deep:])
    return names


def _cells(folder: Path, called: str) -> Iterator[Entry]:
    """The cells of a sweep; where there are several sweeps, what it is called is a label, too."""
    sweep = load_sweep(folder)
    name = {"sweep": called} if called else {}
    for place, cell in enumerate(sweep.cells.to_dict("records")):
        labels = {**name, **{axis: str(cell[axis]) for axis in sweep.axes}}
        directory = sweep.directory(place)
        run = sweep.run_at(place) if (directory / CONFIG).is_file() else None
        state = MISSING if run is None and cell["state"] == DONE else str(cell["state"])
        if run is not None and state in NOT_ENDED:  # results.json may be older than the run
            state = STATES.get(run.status, run.status)
        yield Entry(labels, _or_damaged(state, run), run, str(cell["reason"] or ""))


def _or_damaged(state: str, run: RunResult | None) -> str:
    """The state of a run, unless it is done and some of its records are lost."""
    if state != DONE or run is None:
        return state
    rounds = int(run.summary.get("rounds") or 0)
    whole = rounds if run.up_to is None else min(rounds, run.up_to)
    return DAMAGED if len(run.metrics) < whole else state


def _runs(directories: Sequence[Path]) -> Iterator[Entry]:
    """Runs by themselves: their labels are their components, their seed, and every setting in which they differ.

    Of runs with the same labels the last one that is done counts.
    """
    runs = [load_run(directory) for directory in directories]
    given = [given_settings(run.settings) for run in runs]
    differing = dict.fromkeys(key for one in given for key in differing_keys(given[0], one))
    extra = [key for key in differing if not _is_in_a_label(key) and not key.startswith(NOT_WHAT_COMES_OUT)]
    labels = [_labels(run, settings, extra) for run, settings in zip(runs, given, strict=True)]
    apart = [key for key in WHO_ATTACKS if _tells_apart(key, labels, runs)]
    labels = [
        {**{key: str(_at(run.settings, key)) for key in apart}, **one} for run, one in zip(runs, labels, strict=True)
    ]
    states = [STATES.get(run.status, run.status) for run in runs]
    counting = {tuple(one.values()): place for place, one in enumerate(labels) if states[place] == DONE}
    for place, (run, one) in enumerate(zip(runs, labels, strict=True)):
        again = states[place] == DONE and counting[tuple(one.values())] != place
        state = REPEATED if again else _or_damaged(states[place], run)
        yield Entry(one, state, run, str(run.summary.get("reason") or ""))


def _labels(run: RunResult, given: Mapping[str, Any], extra: Sequence[str]) -> dict[str, str]:
    left_out = [key.removeprefix("attack.") for key in WHO_ATTACKS]
    return {
        DATA: str(run.settings["data"]["name"]),
        **{key: str(_at(given, key, _at(run.settings, key))) for key in extra},
        COLUMNS: component_label(_named(given, run.settings, "attack"), left_out),
        ROWS: component_label(_named(given, run.settings, "aggregator")),
        REPEATS: str(run.settings["seed"]),
    }


def _tells_apart(key: str, labels: Sequence[Mapping[str, str]], runs: Sequence[RunResult]) -> bool:
    """Whether runs that are called alike have different values of a key."""
    found = {(tuple(one.values()), str(_at(run.settings, key))) for run, one in zip(runs, labels, strict=True)}
    return len(found) > len({called for called, _ in found})


def component_label(settings: Any, left_out: Sequence[str] = ()) -> str:
    """A component with its settings, what stands in front of an aggregator behind a plus, several joined by one.

    >>> component_label({"name": "cwtm", "pre": [{"name": "nnm"}]})
    'cwtm + nnm'
    >>> component_label([{"name": "alie", "z": 1.5}, {"name": "zero", "clients": [3]}], ["clients"])
    'alie (z 1.5) + zero'
    """
    if not isinstance(settings, Mapping):
        return " + ".join(component_label(one, left_out) for one in settings)
    apart = ("name", "pre", *left_out)
    details = ", ".join(f"{key} {value}" for key, value in settings.items() if key not in apart)
    own = f"{settings.get('name', 'default')} ({details})" if details else str(settings.get("name", "default"))
    return " + ".join([own, *(component_label(one) for one in settings.get("pre", ()))])


def _is_in_a_label(key: str) -> bool:
    return key == REPEATS or key == "data.name" or key.startswith(("attack", "aggregator"))


def _named(given: Mapping[str, Any], resolved: Mapping[str, Any], section: str) -> Any:
    """What is not left at its default in a section, and the name, which may be."""
    settings = given.get(section, {})
    return {"name": resolved[section]["name"], **settings} if isinstance(settings, Mapping) else settings


def _at(settings: Mapping[str, Any], key: str, otherwise: Any = "default") -> Any:
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return otherwise if value is None else value
