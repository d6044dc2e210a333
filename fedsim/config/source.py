"""Where a configuration comes from: YAML files and dotted overrides, as plain values."""

import re
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from yaml.representer import RepresenterError

from fedsim.config.run import RunConfig
from fedsim.config.section import named_sections
from fedsim.errors import ConfigError, sentence
from fedsim.files import open_file
from fedsim.yaml_text import MAX_CHARACTERS, MAX_DEPTH, parse_yaml, yaml_line


def _is_handed_over(path: Path) -> bool:
    """Whether it is a pipe that the shell has opened, as for ``--config <(...)``."""
    return path == Path("/dev/stdin") or path.parent in (Path("/dev/fd"), Path("/proc/self/fd"))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError if it is missing, unreadable or no mapping."""
    try:
        opened = path.open("rb") if _is_handed_over(path) else open_file(path)
        with TextIOWrapper(opened, encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)  # one more is refused, however many there are
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError("--config", f"cannot read {path}: {reason}", "give a readable YAML file") from None
    values = parse_yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError("--config", f"{path} does not hold a mapping of keys", "write 'key: value' lines")
    return values


MAX_OVERRIDES = 1000
"""Settings on a command line: there are not half as many keys."""

NAMED_SECTIONS = named_sections(RunConfig)
"""Sections that name a component."""


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """``values`` with ``dotted.key=value`` applied, and notes about settings that a new name has replaced.

    Naming another component drops the settings that belonged to the one before; overrides of settings
    apply to the new one, wherever they stand on the command line.

    >>> apply_overrides({"aggregator": {"name": "fedseca", "momentum": 0.5}}, ["aggregator.name=cwmed"])
    ({'aggregator': {'name': 'cwmed'}}, ["aggregator.name=cwmed: the settings of 'fedseca' (momentum) are dropped"])
    """
    if len(overrides) > MAX_OVERRIDES:
        problem = f"{len(overrides)} settings, and no more than {MAX_OVERRIDES} can be given"
        raise ConfigError("command line", problem, "write them into a file and name it by --config")
    result, notes = dict(values), []
    given: set[str] = set()
    for key, value in map(_split_override, overrides):
        section = key.removesuffix(".name")
        if key.endswith(".name") and section in NAMED_SECTIONS:
            notes += _drop_settings_of_other(result, section, value, given)
        for other in _alternatives(key) - given if value is not None else ():
            if _holds(result, other):
                _assign(result, other, None)
        given = {other for other in given if not other.startswith(f"{key}.")} | {key}
        _assign(result, key, value)
    return result, notes


def as_overrides(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Settings as ``dotted.key=value``; in place of a section that names a component, its name will do.

    >>> as_overrides({"rounds": 3, "attack": {"z": 1.5, "name": "alie"}, "aggregator": "cwtm"})
    ['rounds=3', 'attack.name=alie', 'attack.z=1.5', 'aggregator.name=cwtm']
    """
    overrides = []
    for key, value in sorted(settings.items(), key=lambda item: item[0] != "name"):
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            overrides += as_overrides(value, f"{dotted}.")
        elif isinstance(value, str) and dotted in NAMED_SECTIONS:
            overrides.append(f"{dotted}.name={yaml_line(value)}")
        else:
            overrides.append(f"{dotted}={_yaml_of(dotted, value)}")
    return overrides


def _yaml_of(key: str, value: Any) -> str:
    try:
        return yaml_line(value)
    except RepresenterError:
        remedy = "give a number, text, true or false, a list or a mapping of these"
        raise ConfigError(key, f"{type(value).__name__} is no type of a setting", remedy) from None


def _split_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*", key):
        raise ConfigError("", f"'{override}' is neither an option nor dotted.key=value", "for example rounds=5")
    if key.count(".") >= MAX_DEPTH:
        raise ConfigError(key, f"more than {MAX_DEPTH} levels of keys", "no setting lies so deep")
    return key, parse_yaml(text, f"{key}=")


def _alternatives(key: str) -> set[str]:
    """The keys of which naming ``key`` on the command line takes the place."""
    section, _, last = key.rpartition(".")
    ways = NAMED_SECTIONS[section].alternatives if section in NAMED_SECTIONS else ()
    return {f"{section}.{way}" for way in ways} - {key} if last in ways else set()


def _holds(values: Mapping[str, Any], key: str) -> bool:
    holder: Any = values
    for part in key.split("."):
        if not isinstance(holder, Mapping) or part not in holder:
            return False
        holder = holder[part]
    return True


def _drop_settings_of_other(values: dict[str, Any], section: str, name: Any, given: set[str]) -> list[str]:
    *parents, last = section.split(".")
    holder: Any = values
    for part in parents:
        holder = holder.get(part) if isinstance(holder, dict) else None
    before = holder.get(last) if isinstance(holder, dict) else None
    if not isinstance(before, dict) or before.get("name", name) == name:
        return []
    stay = {"name", *NAMED_SECTIONS[section].staying_keys()} | {key for key in before if f"{section}.{key}" in given}
    kept = {key: value for key, value in before.items() if key in stay}
    dropped = [key for key in before if key not in kept]
    _assign(values, section, kept)
    if not dropped:
        return []
    note = f"{section}.name={name}: the settings of '{before['name']}' ({', '.join(dropped)}) are dropped"
    return [sentence(note)]


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, copying the mappings on the way so that the caller's stay as they were."""
    *parents, last = key.split(".")
    holder = values
    for depth, part in enumerate(parents):
        inner = holder.get(part) or {}
        if not isinstance(inner, dict):
            path = ".".join(parents[: depth + 1])
            raise ConfigError(key, f"{path} is {inner!r} and has no keys", f"give {path} itself")
        holder[part] = dict(inner)
        holder = holder[part]
    holder[last] = value


def differing_keys(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ.

    >>> differing_keys({"seed": 0, "data": {"name": "a"}}, {"seed": 0, "data": {"name": "b"}})
    ['data.name']
    """
    keys = []
    for key in sorted({*first, *second}):
        one, other = first.get(key), second.get(key)
        if all(isinstance(value, Mapping) or value is None for value in (one, other)) and one != other:
            keys += differing_keys(one or {}, other or {}, f"{prefix}{key}.")
        elif one != other:
            keys.append(f"{prefix}{key}")
    return keys
