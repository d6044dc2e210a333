"""From a sweep's file to its cells, all of them checked before the first one runs."""

import hashlib
import itertools
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from fedsim.build.components import Components, build_components
from fedsim.build.given_settings import given_settings
from fedsim.config.run import parse_config
from fedsim.config.source import NAMED_SECTIONS, apply_overrides, read_yaml
from fedsim.errors import ConfigError, FedsimWarning, did_you_mean, escaped
from fedsim.files import as_typed, file_name, user_path
from fedsim.results_version import RESULTS_VERSION
from fedsim.settings import Schema, parse_settings
from fedsim.sweep.names import as_name, require_labels, require_short, sweep_name
from fedsim.yaml_text import yaml_line

NOT_WHAT_COMES_OUT = ("output_dir", "run_name", "tracking", "checkpoint")
"""Sections of a config that do not make another cell."""

RUNTIME_THAT_DOES_NOT_MATTER = ("timeout", "check_every", "on_divergence")

GROUPS = ("data", "attack", "aggregator")
"""Axes that have a folder of their own, so that TensorBoard shows the runs as a tree."""


class CellOverride(Schema):
    """Cells that are named by some of their labels."""

    where: dict[str, Any] = Field(description="axis: label, or a list of labels")
    set: dict[str, Any] = Field(description="dotted keys and their values in these cells")


class SweepFile(Schema):
    """What a sweep's YAML holds."""

    name: str | None = Field(None, min_length=1, max_length=250, description="of the sweep; default: of the file")
    base: str = Field(description="config that every cell starts from, seen from the sweep's file")
    set: dict[str, Any] = Field(default_factory=dict, description="dotted keys and their values in every cell")
    axes: dict[str, list[Any] | dict[Any, Any]] = Field(description="axis: its values, or label: value")
    exclude: list[dict[str, Any]] = Field(default_factory=list, description="axis: label, of cells to leave out")
    overrides: list[CellOverride] = Field(default_factory=list, description="settings of some cells only")


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        labels: its place on each axis.
        config_hash: hash of its resolved configuration.
        config: the configuration, resolved.
        num_clients: how many ranks can have clients.
        folder: of the sweep.
    """

    labels: Mapping[str, str]
    config_hash: str
    config: Mapping[str, Any]
    num_clients: int
    folder: Path

    def __str__(self) -> str:
        return ", ".join(f"{axis}={label}" for axis, label in self.labels.items())

    @property
    def directory(self) -> Path:
        """Of its run."""
        return user_path(self.config["output_dir"], "output_dir") / str(self.config["run_name"])


@dataclass(frozen=True)
class Sweep:
    """All cells, in the order of the axes."""

    name: str
    folder: Path
    axes: Mapping[str, Sequence[str]]
    cells: Sequence[Cell]
    missing_data: Sequence[str] = ()


def read_sweep(
    path: Path, overrides: Sequence[str] = (), only: Sequence[str] = (), *, require_data: bool = True
) -> Sweep:
    """The sweep of a file.

    Args:
        require_data: whether missing data are a mistake; otherwise the sweep says what is missing.
        overrides: ``dotted.key=value`` for every cell.
        only: ``axis=label,label``: other cells are left out; of a label, its first word is enough.

    Raises:
        ConfigError: the file or one of its cells is wrong; the message names both.
    """
    try:
        return _read(path, overrides, only, require_data=require_data)
    except ConfigError as error:
        raise ConfigError(str(path), str(error)) from None


def _read(path: Path, overrides: Sequence[str], only: Sequence[str], *, require_data: bool) -> Sweep:
    file = parse_settings(SweepFile, read_yaml(path))
    axes = {axis: _labelled(axis, values) for axis, values in file.axes.items()}
    labels = {axis: list(values) for axis, values in axes.items()}
    for position, rule in enumerate(file.exclude):
        _check_rule(f"exclude.{position}", rule, labels)
    for position, exception in enumerate(file.overrides):
        _check_rule(f"overrides.{position}.where", exception.where, labels)
    kept = _kept(only, labels)
    try:
        base = read_yaml(path.parent / user_path(file.base, "base"))
    except ConfigError as error:
        raise ConfigError("base", error.problem, error.remedy) from None
    name = sweep_name(file.name, path)
    cells: list[Cell] = []
    missing: dict[str, None] = {}
    for choice in itertools.product(*kept.values()):
        place = dict(zip(axes, choice, strict=True))
        if not any(_fits(rule, place) for rule in file.exclude):
            settings = [*_cell_overrides(file, axes, place), *overrides]
            try:
                components = _components(base, settings, require_data=require_data)
            except ConfigError as error:
                raise _of_cell(error, place, axes) from None
            cells.append(_cell(components, place, name))
            if not require_data and (problem := _what_is_missing(components)):
                missing[problem] = None
    _require_cells(cells)
    return Sweep(name, cells[0].folder, kept, cells, list(missing))


def _components(base: Mapping[str, Any], overrides: Sequence[str], *, require_data: bool) -> Components:
    values, _ = apply_overrides(base, overrides)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FedsimWarning)  # the run says it
        return build_components(parse_config(values), require_data=require_data)


def _what_is_missing(components: Components) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FedsimWarning)
            components.require_data()
    except ConfigError as error:
        return str(error)
    return None


def _of_cell(
    error: ConfigError, place: Mapping[str, str], axes: Mapping[str, Mapping[str, Sequence[str]]]
) -> ConfigError:
    """The error with its cell, and the axis that has set its key."""
    where = ", ".join(f"{axis}={label}" for axis, label in place.items())
    setters = [
        axis
        for axis, label in place.items()
        if any(f"{error.key}.".startswith(f"{override.partition('=')[0]}.") for override in axes[axis][label])
    ]
    return ConfigError(", ".join([*(f"axes.{axis}" for axis in setters), f"cell {where}"]), str(error))


def _cell(components: Components, place: Mapping[str, str], name: str) -> Cell:
    config = components.resolved()
    config_hash = _hash(config)
    folder = components.output_dir / file_name(name)
    groups = [require_short(as_name(place[axis])) for axis in GROUPS if axis in place]
    others = [f"{as_name(axis)}{as_name(label)}" for axis, label in place.items() if axis not in GROUPS]
    config["output_dir"] = as_typed(folder.joinpath(*groups))
    config["run_name"] = require_short("-".join([*others, config_hash]))
    return Cell(place, config_hash, config, components.config.most_hosts, folder)


def _hash(config: Mapping[str, Any]) -> str:
    """Of what decides about the results and is no default: a key that an update brings makes no other cell."""
    counted = {key: value for key, value in given_settings(config).items() if key not in NOT_WHAT_COMES_OUT}
    runtime = counted.pop("runtime", {}).items()
    if matters := {key: value for key, value in runtime if key not in RUNTIME_THAT_DOES_NOT_MATTER}:
        counted["runtime"] = matters
    if data := {key: value for key, value in counted.pop("data", {}).items() if key != "placement"}:
        counted["data"] = data
    text = json.dumps([RESULTS_VERSION, counted], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _labelled(axis: str, values: Sequence[Any] | Mapping[str, Any]) -> dict[str, list[str]]:
    """The overrides of each value of an axis, by its label."""
    if not values:
        raise ConfigError(f"axes.{axis}", "no values", "give at least one")
    require_labels(axis, values if isinstance(values, Mapping) else ())
    pairs = values.items() if isinstance(values, Mapping) else ((_label(value), value) for value in values)
    labelled: dict[str, list[str]] = {}
    for label, value in pairs:
        text = _label(label)
        if text in labelled:
            raise ConfigError(f"axes.{axis}", f"'{text}' is there twice", "write 'label: value' to distinguish them")
        labelled[text] = list(_overrides_of(axis, value))
    return labelled


def _label(value: Any) -> str:
    """A component's name with its settings, or the value itself, in one line that can be printed.

    >>> _label({"name": "fang", "target": "mean"}), _label("two\\nlines")
    ('fang target=mean', 'two\\\\nlines')
    """
    if isinstance(value, Mapping) and "name" in value:
        settings = [f"{key}={item}" for key, item in value.items() if key != "name"]
        return escaped(" ".join([str(value["name"]), *settings]))
    if isinstance(value, str):
        return escaped(value) if value.strip() else repr(value)
    return json.dumps(value)


def _overrides_of(axis: str, value: Any) -> Iterator[str]:
    """What a value of an axis sets.

    >>> list(_overrides_of("attack", {"name": "fang", "target": "mean"}))
    ['attack.name=fang', 'attack.target=mean']
    >>> list(_overrides_of("seed", 3)), list(_overrides_of("setting", {"clients.count": 4}))
    (['seed=3'], ['clients.count=4'])
    """
    if axis in NAMED_SECTIONS and isinstance(value, str):
        yield f"{axis}.name={yaml_line(value)}"
    elif isinstance(value, Mapping):
        prefix = f"{axis}." if axis in NAMED_SECTIONS else ""
        ordered = sorted(value.items(), key=lambda pair: pair[0] != "name")
        yield from (f"{prefix}{key}={yaml_line(item)}" for key, item in ordered)
    else:
        yield f"{axis}={yaml_line(value)}"


def _cell_overrides(
    file: SweepFile, axes: Mapping[str, Mapping[str, list[str]]], place: Mapping[str, str]
) -> Iterator[str]:
    yield from _overrides_of("", file.set)
    for axis, label in place.items():
        yield from axes[axis][label]
    for exception in file.overrides:
        if _fits(exception.where, place):
            yield from _overrides_of("", exception.set)


def _fits(rule: Mapping[str, Any], place: Mapping[str, str]) -> bool:
    return all(place[axis] in _labels(wanted) for axis, wanted in rule.items())


def _labels(wanted: Any) -> list[str]:
    return [_label(value) for value in (wanted if isinstance(wanted, list) else [wanted])]


def _check_rule(key: str, rule: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> None:
    for axis, wanted in rule.items():
        if axis not in labels:
            raise ConfigError(f"{key}.{axis}", "no such axis", did_you_mean(axis, labels))
        for label in _labels(wanted):
            if label not in labels[axis]:
                raise ConfigError(f"{key}.{axis}", f"'{label}' is not on it", did_you_mean(label, labels[axis]))


def _kept(only: Sequence[str], labels: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    kept = {axis: list(values) for axis, values in labels.items()}
    for text in only:
        axis, _, chosen = text.partition("=")
        wanted = [label for label in re.split(r",(?![^\[{]*[\]}])", chosen) if label]
        short = {label.split()[0] for label in labels.get(axis, ())}
        _check_rule("--only", {axis: [label for label in wanted if label not in short]}, labels)
        kept[axis] = [label for label in kept[axis] if label in wanted or label.split()[0] in wanted]
    return kept


def _require_cells(cells: Sequence[Cell]) -> None:
    if not cells:
        raise ConfigError("exclude", "no cell is left", "exclude less")
    first: dict[str, Cell] = {}
    for cell in cells:
        same = first.setdefault(cell.config_hash, cell)
        if same is not cell:
            raise ConfigError("axes", f"the cells {same} and {cell} have the same configuration", "take one away")
