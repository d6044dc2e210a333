"""The axes of a sweep: labels, what each of them sets, and rules that name cells by them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedsim.config.source import NAMED_SECTIONS
from fedsim.errors import ConfigError, did_you_mean, escaped
from fedsim.sweep.names import require_labels
from fedsim.yaml_text import yaml_line


def sets_rounds(axes: Mapping[str, Mapping[str, Sequence[str]]]) -> bool:
    """Whether cells differ by their rounds, because an axis sets them: then each is a run of its own."""
    overrides = (override for labels in axes.values() for its in labels.values() for override in its)
    return any(override.partition("=")[0] == "rounds" for override in overrides)


def labelled(axis: str, values: Sequence[Any] | Mapping[str, Any]) -> dict[str, list[str]]:
    """The overrides of each value of an axis, by its label."""
    if not values:
        raise ConfigError(f"axes.{axis}", "no values", "give at least one")
    require_labels(axis, values if isinstance(values, Mapping) else ())
    pairs = values.items() if isinstance(values, Mapping) else ((_label(value), value) for value in values)
    found: dict[str, list[str]] = {}
    for label, value in pairs:
        text = _label(label)
        if text in found:
            raise ConfigError(f"axes.{axis}", f"'{text}' is there twice", "write 'label: value' to distinguish them")
        found[text] = list(overrides_of(axis, value))
    return found


def _label(value: Any) -> str:
    """A component's name with its settings, or the value itself, in one line that can be printed.

    What stands in front of an aggregator is behind a plus, as are several attacks.

    >>> _label({"name": "fang", "target": "mean"}), _label("two\\nlines")
    ('fang target=mean', 'two\\\\nlines')
    >>> _label({"name": "cwtm", "pre": [{"name": "nnm"}]}), _label([{"name": "alie", "z": 1}, {"name": "zero"}])
    ('cwtm + nnm', 'alie z=1 + zero')
    """
    if isinstance(value, Mapping) and "name" in value:
        pre: list[Any] = value["pre"] if _are_components(value.get("pre")) else []
        settings = [f"{key}={item}" for key, item in value.items() if key not in ("name", *(["pre"] if pre else []))]
        return " + ".join([escaped(" ".join([str(value["name"]), *settings])), *map(_label, pre)])
    if _are_components(value):
        return " + ".join(map(_label, value))
    if isinstance(value, str):
        return escaped(value) if value.strip() else repr(value)
    return json.dumps(value)


def _are_components(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) and "name" in one for one in value)
    )


def overrides_of(axis: str, value: Any) -> Iterator[str]:
    """What a value of an axis sets.

    >>> list(overrides_of("attack", {"name": "fang", "target": "mean"}))
    ['attack.name=fang', 'attack.target=mean']
    >>> list(overrides_of("seed", 3)), list(overrides_of("setting", {"clients.count": 4, "attack": "none"}))
    (['seed=3'], ['clients.count=4', 'attack.name=none'])
    """
    if isinstance(value, Mapping):
        prefix = f"{axis}." if axis in NAMED_SECTIONS else ""
        ordered = sorted(value.items(), key=lambda pair: pair[0] != "name")
        yield from (_override(f"{prefix}{key}", item) for key, item in ordered)
    else:
        yield _override(axis, value)


def _override(key: str, value: Any) -> str:
    """In place of a section that names a component, its name will do."""
    named = ".name" if key in NAMED_SECTIONS and isinstance(value, str) else ""
    return f"{key}{named}={yaml_line(value)}"


def fits(rule: Mapping[str, Any], place: Mapping[str, str]) -> bool:
    """Whether a cell at this place has the labels of a rule."""
    return all(place[axis] in _labels(wanted) for axis, wanted in rule.items())


def _labels(wanted: Any) -> list[str]:
    return [_label(value) for value in (wanted if isinstance(wanted, list) else [wanted])]


def check_rule(key: str, rule: Mapping[str, Any], labels: Mapping[str, Sequence[str]]) -> None:
    """ConfigError, under ``key``, if a rule names an axis or a label that is not there."""
    for axis, wanted in rule.items():
        if axis not in labels:
            raise ConfigError(f"{key}.{axis}", "no such axis", did_you_mean(axis, labels))
        for label in _labels(wanted):
            if label not in labels[axis]:
                raise ConfigError(f"{key}.{axis}", f"'{label}' is not on it", did_you_mean(label, labels[axis]))


def kept_labels(only: Sequence[str], labels: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The labels of each axis that ``--only`` leaves, given once or several times.

    A first word is enough, unless it is a label itself; a number may be written in any way.

    >>> kept_labels(["lr=3e-5", "lr=.01"], {"lr": ["3e-05", "0.01", "1"], "seed": ["0"]})
    {'lr': ['3e-05', '0.01'], 'seed': ['0']}
    """
    wanted: dict[str, list[str]] = {}
    for text in only:
        axis, _, chosen = text.partition("=")
        there = labels.get(axis, ())
        given = [label for label in re.split(r",(?![^\[{]*[\]}])", chosen) if label]
        wanted.setdefault(axis, []).extend(_on_axis(label, there) for label in given)
    kept = {axis: list(values) for axis, values in labels.items()}
    for axis, chosen_labels in wanted.items():
        first_words = {label.split()[0] for label in labels.get(axis, ())} - {*labels.get(axis, ())}
        check_rule("--only", {axis: [label for label in chosen_labels if label not in first_words]}, labels)
        short = first_words.intersection(chosen_labels)
        kept[axis] = [label for label in kept[axis] if label in chosen_labels or label.split()[0] in short]
    return kept


def _on_axis(written: str, labels: Sequence[str]) -> str:
    """The label of a number that is written in another way; any other text as it is."""
    try:
        number = _label(float(written))
    except ValueError:
        return written
    return number if number in labels and written not in labels else written
