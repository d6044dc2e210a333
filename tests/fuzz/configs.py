"""Configurations from the real schema, most of them nearly right, and some of every kind of wrong."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedsim.build.registries import REGISTRY_OF
from fedsim.config.run import RunConfig
from fedsim.config.section import Section
from fedsim.config.source import NAMED_SECTIONS
from fedsim.training.optimizers import available_optimizers
from fedsim.yaml_text import yaml_line, yaml_text

Strategy = st.SearchStrategy[Any]
Limits = tuple[float | None, float | None]

PATHS = ["", ".", "nowhere", "~nobody-here/x", "$NOT_SET/x", "a\0b", "x" * 6000, "\udc80", "\x1b[2J", "a\nb", "ü"]

INTEGERS = st.one_of(st.integers(-3, 12), st.sampled_from([2**31, 2**63, 10**6, 10**9, 10**18, -(10**12), 10**400]))
FLOATS = st.one_of(
    st.floats(0, 2), st.sampled_from([0.0, -0.0, 1.0, -1.5, 1e-320, 1e308, float("inf"), float("nan")]), INTEGERS
)
TEXTS = st.one_of(
    st.sampled_from([*PATHS, "auto", "none", "oracle", "true", "1e3", "010", "1:30", "null", "../../../x", "a|b"]),
    st.text(max_size=20),
)
SCALARS = st.one_of(st.none(), st.booleans(), INTEGERS, FLOATS, TEXTS)
JUNK = st.one_of(
    SCALARS,
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)),
    st.sampled_from(
        [[[]], {}, [{}], {"name": None}, {"": {"": {}}}, ["x"] * 3000, {f"k{i}": i for i in range(3000)}]
    ),
)
"""Values of any type that have no business where they stand."""

NAMES = {kind: sorted(registry.describe()) for kind, registry in REGISTRY_OF.items()}
OPTIMIZERS = sorted(available_optimizers())


def value_of(annotation: Any, limits: Limits = (None, None)) -> Strategy:
    """Values that a field of this type takes, most of them within its limits."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return value_of(arguments[0], limits)
    if origin in (Union, types.UnionType):
        return st.one_of([value_of(argument, limits) for argument in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (list, tuple):
        items = value_of(arguments[0])
        return st.one_of(st.lists(items, max_size=3), items)  # an attack may stand without its list
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return sections(annotation) if issubclass(annotation, Section) else some_of(known_values(annotation))
    if annotation in (int, float):
        return numbers(annotation, *limits)
    return {bool: st.booleans(), str: TEXTS, type(None): st.none()}.get(annotation, JUNK)


def numbers(kind: type[int] | type[float], lowest: float | None, highest: float | None) -> Strategy:
    """Numbers within limits, now and then at them or beyond."""
    low, high = lowest or 0, min(highest or 20, 1000)
    if kind is int:
        return st.one_of(st.integers(int(low), int(max(low, high))), st.integers(int(low), int(low) + 3), INTEGERS)
    return st.one_of(st.floats(low, max(low, high)), st.just(low), st.sampled_from([low, high, 0.5, 0.1]), FLOATS)


def field_value(field: FieldInfo) -> Strategy:
    """Mostly a value of the type of a field, now and then junk."""
    ends = [[getattr(mark, end) for mark in field.metadata if hasattr(mark, end)] for end in ("ge", "gt", "le", "lt")]
    low, high = [*ends[0], *ends[1]], [*ends[2], *ends[3]]
    wanted = value_of(field.annotation, (low[0] if low else None, high[0] if high else None))
    return now_and_then(JUNK, wanted)


def now_and_then(rare: Strategy, usual: Strategy) -> Strategy:
    """One of two strategies, seldom the first."""
    return st.integers(0, 19).flatmap(lambda drawn: rare if drawn == 7 else usual)


COMPONENT = "component_settings"


@cache
def known_values(schema: type[BaseModel]) -> Mapping[str, Strategy]:
    """A strategy for each key of a schema."""
    return {key: field_value(field) for key, field in schema.model_fields.items() if key != COMPONENT}


@st.composite
def some_of(draw: st.DrawFn, known: Mapping[str, Strategy], always: str = "") -> dict[str, Any]:
    """A mapping with a few of the keys, and now and then one that is none of them."""
    chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True)) if known else []
    values = {key: draw(known[key]) for key in dict.fromkeys([*filter(None, [always]), *chosen])}
    if draw(st.integers(0, 25)) == 7:
        values[draw(TEXTS)] = draw(JUNK)
    return values


@st.composite
def sections(draw: st.DrawFn, kind: type[Section]) -> dict[str, Any]:
    """A section with the name of a component and a few of its settings."""
    return draw(some_of(section_values(kind, draw(st.sampled_from(NAMES.get(kind, OPTIMIZERS)))), always="name"))


@cache
def section_values(kind: type[Section], name: str) -> Mapping[str, Strategy]:
    """A strategy for each key that a section has when it names this component."""
    if kind in REGISTRY_OF:
        settings = known_values(REGISTRY_OF[kind].get(name).Settings)
    else:
        settings = {
            key: st.one_of(FLOATS, st.booleans(), JUNK) for key in ("lr", "momentum", "weight_decay", "betas")
        }
    return {**known_values(kind), **settings, "name": now_and_then(st.one_of(TEXTS, JUNK), st.just(name))}


@dataclass(frozen=True)
class Given:
    """What a user gives: a file and overrides."""

    file: str
    overrides: tuple[str, ...]

    def __str__(self) -> str:
        return f"file {self.file!r} and {self.overrides!r}"


@st.composite
def given_configs(draw: st.DrawFn) -> Given:
    """Some sections changed in a file, some keys changed by overrides."""
    values = draw(some_of(known_values(RunConfig)))
    return Given(_written(values), tuple(draw(st.lists(overrides(), max_size=2))))


def _written(values: Mapping[str, Any]) -> str:
    """As YAML, where the values have one: a lone surrogate and a number of thousands of digits have none."""
    try:
        return yaml_text(values)
    except ValueError:
        return repr(values)


@st.composite
def overrides(draw: st.DrawFn) -> str:
    """``dotted.key=value`` with a value of the key's type, junk, or a text that is no YAML."""
    key = draw(st.sampled_from(KEYS))
    value = draw(VALUES[key])
    try:
        text = yaml_line(value)
    except ValueError:
        text = str(type(value))
    if draw(st.integers(0, 9)) == 7:
        text = draw(
            st.one_of(st.sampled_from(["", "[", "{", "!!int x", "'", "&a [*a]", "*b", "? ", "%", "@"]), TEXTS)
        )
    return f"{key}={text}"


def dotted(schema: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every key below a schema with its field, those of all components included."""
    found: dict[str, FieldInfo] = {}
    for key, field in schema.model_fields.items():
        if key == COMPONENT:
            continue
        found[f"{prefix}{key}"] = field
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found |= dotted(inner, f"{prefix}{key}.")
    return found


def _of_components() -> dict[str, FieldInfo]:
    return {
        f"{key}.{setting}": field
        for key, kind in NAMED_SECTIONS.items()
        if kind in REGISTRY_OF
        for name in NAMES[kind]
        for setting, field in REGISTRY_OF[kind].get(name).Settings.model_fields.items()
    }


FIELDS = _of_components() | dotted(RunConfig)
KEYS = sorted(FIELDS)
VALUES = {key: field_value(field) for key, field in FIELDS.items()}
