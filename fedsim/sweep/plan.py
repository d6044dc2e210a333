"""From a sweep's file to its cells, all of them checked before the first one runs."""

import hashlib
import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from fedsim.build.components import Components, build_components
from fedsim.build.given_settings import decisive_settings
from fedsim.cli import QUICKSTART
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import as_typed, file_name, user_path
from fedsim.results_version import RESULTS_VERSION
from fedsim.run_directory.plugin_source import PluginSource, digest_of
from fedsim.settings import Schema, parse_settings
from fedsim.sweep.axes import check_rule, fits, kept_labels, labelled, overrides_of, sets_rounds
from fedsim.sweep.names import as_name, require_short, sweep_name

NOT_WHAT_COMES_OUT = ("output_dir", "run_name", "tracking", "checkpoint")
"""Sections of a config that do not make another cell."""

NO_OTHER_CELL = (
    *NOT_WHAT_COMES_OUT,
    "rounds",
    "data.placement",
    "server.sharded",
    "runtime.compile_kernels",
    "runtime.timeout",
    "runtime.check_every",
    "runtime.on_divergence",
)
"""Keys that do not make another cell: its results are the same, or, with more ``rounds``, they are continued."""

GROUPS = ("data", "attack", "aggregator")
"""Axes that have a folder of their own, so that TensorBoard shows the runs as a tree."""


class CellOverride(Schema):
    """Cells that are named by some of their labels."""

    where: dict[str, Any] = Field(description="axis: label, or a list of labels")
    set: dict[str, Any] = Field(description="dotted keys and their values in these cells")


class SweepFile(Schema):
    """What a sweep's YAML holds."""

    name: str | None = Field(None, min_length=1, max_length=250, description="of the sweep; default: of the file")
    base: str | None = Field(
        None, description="config of every cell, seen from the sweep's file; default: quickstart"
    )
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
    """All cells, in the order of the axes.

    Attributes:
        plugins: a digest of what is in all of them; a cell is not run with other contents.
        warned: what the configurations of cells are warned of, and of how many.
    """

    name: str
    folder: Path
    axes: Mapping[str, Sequence[str]]
    cells: Sequence[Cell]
    missing_data: Sequence[str] = ()
    plugins: str = ""
    warned: Mapping[str, int] = field(default_factory=dict)


def read_sweep(
    path: Path,
    overrides: Sequence[str] = (),
    only: Sequence[str] = (),
    plugins: Sequence[PluginSource] = (),
    *,
    require_data: bool = True,
) -> Sweep:
    """The sweep of a file.

    Args:
        plugins: that have been loaded; an edited one makes other cells of those that use it.
        require_data: whether missing data are a mistake; otherwise the sweep says what is missing.
        overrides: ``dotted.key=value`` for every cell.
        only: ``axis=label,label``: other cells are left out; of a label, its first word is enough.

    Raises:
        ConfigError: the file or one of its cells is wrong; the message names both.
    """
    try:
        return _read(path, overrides, only, plugins, require_data=require_data)
    except ConfigError as error:
        raise ConfigError(str(path), str(error)) from None


def _read(
    path: Path,
    overrides: Sequence[str],
    only: Sequence[str],
    plugins: Sequence[PluginSource],
    *,
    require_data: bool,
) -> Sweep:
    file = parse_settings(SweepFile, read_yaml(path))
    axes = {axis: labelled(axis, values) for axis, values in file.axes.items()}
    labels = {axis: list(values) for axis, values in axes.items()}
    for position, rule in enumerate(file.exclude):
        check_rule(f"exclude.{position}", rule, labels)
    for position, exception in enumerate(file.overrides):
        check_rule(f"overrides.{position}.where", exception.where, labels)
    kept = kept_labels(only, labels)
    try:
        base = read_yaml(QUICKSTART if file.base is None else path.parent / user_path(file.base, "base"))
    except ConfigError as error:
        raise ConfigError("base", error.problem, error.remedy) from None
    name = sweep_name(file.name, path)
    rounds_count = sets_rounds(axes)
    cells: list[Cell] = []
    missing: dict[str, None] = {}
    warned: Counter[str] = Counter()
    for choice in itertools.product(*kept.values()):
        place = dict(zip(axes, choice, strict=True))
        if not any(fits(rule, place) for rule in file.exclude):
            settings = [*_cell_overrides(file, axes, place), *overrides]
            try:
                components, said = _components(base, settings, plugins, require_data=require_data)
            except ConfigError as error:
                raise _of_cell(error, place, axes) from None
            cells.append(_cell(components, place, name, rounds_count=rounds_count))
            warned.update(said)
            if not require_data and (problem := _what_is_missing(components)):
                missing[problem] = None
    if only and not cells:
        raise ConfigError("--only", f"no cell has {' and '.join(only)}", "write axis=label,label")
    _require_cells(cells)
    return Sweep(name, cells[0].folder, kept, cells, list(missing), digest_of(plugins), warned)


def _components(
    base: Mapping[str, Any], overrides: Sequence[str], plugins: Sequence[PluginSource], *, require_data: bool
) -> tuple[Components, set[str]]:
    """The components of a cell, and what they are warned of."""
    values, _ = apply_overrides(base, overrides)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FedsimWarning)
        components = build_components(parse_config(values), plugins, require_data=require_data)
    for one in caught:
        if not issubclass(one.category, FedsimWarning):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return components, {str(one.message) for one in caught if issubclass(one.category, FedsimWarning)}


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


def _cell(components: Components, place: Mapping[str, str], name: str, *, rounds_count: bool) -> Cell:
    config = components.resolved()
    rounds = config["rounds"] if rounds_count else None
    config_hash = _hash(config, rounds, digest_of(components.plugins))
    folder = components.output_dir / file_name(name)
    groups = [require_short(as_name(place[axis])) for axis in GROUPS if axis in place]
    others = [f"{as_name(axis)}{as_name(label)}" for axis, label in place.items() if axis not in GROUPS]
    config["output_dir"] = as_typed(folder.joinpath(*groups))
    config["run_name"] = require_short("-".join([*others, config_hash]))
    return Cell(place, config_hash, config, components.config.most_hosts, folder)


def _hash(config: Mapping[str, Any], rounds: int | None, plugins: str = "") -> str:
    """Of what decides about the results and is no default: a key that an update brings makes no other cell.

    Args:
        rounds: of the run; None where they make no other cell.
        plugins: a digest of those that it depends on.
    """
    counted = {**decisive_settings(config, NO_OTHER_CELL), **({} if rounds is None else {"rounds": rounds})}
    text = json.dumps([RESULTS_VERSION, counted, *([plugins] if plugins else [])], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _cell_overrides(
    file: SweepFile, axes: Mapping[str, Mapping[str, list[str]]], place: Mapping[str, str]
) -> Iterator[str]:
    yield from overrides_of("", file.set)
    for axis, label in place.items():
        yield from axes[axis][label]
    for exception in file.overrides:
        if fits(exception.where, place):
            yield from overrides_of("", exception.set)


def _require_cells(cells: Sequence[Cell]) -> None:
    if not cells:
        raise ConfigError("exclude", "no cell is left", "exclude less")
    first: dict[str, Cell] = {}
    for cell in cells:
        same = first.setdefault(cell.config_hash, cell)
        if same is not cell:
            remedy = "take one away; a setting on the command line replaces what an axis says, --only chooses from it"
            raise ConfigError("axes", f"the cells {same} and {cell} have the same configuration", remedy)
