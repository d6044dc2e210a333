"""Sections of the configuration that name a component.

They keep the settings of the component apart, in ``component_settings``: which of them are valid only the component
knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from fedsim.settings import Schema


class Section(Schema):
    """A component by name; keys that are not the section's own go to the component."""

    name: str = Field(description="which one (see --list)")
    component_settings: dict[str, Any] = Field(
        default_factory=dict, description="the settings of the component", exclude=True
    )

    defaults_for: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings that a component of this name gets where the user gives no other."""

    alternatives: ClassVar[tuple[str, ...]] = ()
    """Keys that say the same thing in different ways: a section gives one of them."""

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        fields = cls.own_keys() | {"name"}
        name = values.get("name", cls.model_fields["name"].default)
        defaults = cls.defaults_for.get(name, {}) if isinstance(name, str) else {}
        settings = {key: value for key, value in values.items() if key not in fields}
        return {
            **{key: values[key] for key in values if key in fields},
            "component_settings": {**defaults, **settings},
        }

    follow_name: ClassVar[frozenset[str]] = frozenset()
    """Keys of the section that make sense for one component only: they go when another is named."""

    @classmethod
    def own_keys(cls) -> frozenset[str]:
        """Keys of the section itself, whatever component it names."""
        return frozenset(cls.model_fields) - {"name", "component_settings"}

    @classmethod
    def staying_keys(cls) -> frozenset[str]:
        """Keys of the section that stay when it names another component."""
        return cls.own_keys() - cls.follow_name

    def flat(self) -> dict[str, Any]:
        """The section as it is written in YAML."""
        fields = {key: plain(getattr(self, key)) for key in type(self).model_fields if key != "component_settings"}
        return {**fields, **self.component_settings}


def plain(value: Any) -> Any:
    """A section, a group of keys or a list of them as plain YAML values."""
    if isinstance(value, Section):
        return value.flat()
    if isinstance(value, Schema):
        return {key: plain(getattr(value, key)) for key in type(value).model_fields}
    return [plain(item) for item in value] if isinstance(value, list) else value


S = TypeVar("S", bound=Section)


def _as_list(value: Any) -> Any:
    if isinstance(value, Mapping):
        return [value]
    if not isinstance(value, list):
        raise PydanticCustomError("section", "be a section of keys, or a list of such sections")
    return value


OneOrMore = Annotated[list[S], BeforeValidator(_as_list)]
"""A section, or a list of such sections; held as a list."""


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The schema of a field that is a section or a list of sections; None for a plain key."""
    kind = field.annotation
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def named_sections(schema: type[BaseModel], prefix: str = "", lists: bool = False) -> dict[str, type[Section]]:
    """The sections below ``schema`` that name one component, by dotted key.

    Args:
        schema: whose sections.
        prefix: of the keys.
        lists: whether to count lists of sections too; else only where a single one may stand for the list
            (:data:`OneOrMore`).

    >>> from fedsim.config.run import RunConfig
    >>> sorted(named_sections(RunConfig))[:3]
    ['aggregator', 'attack', 'clients.loss']
    """
    found: dict[str, type[Section]] = {}
    for key, field in schema.model_fields.items():
        one_or_more = any(isinstance(mark, BeforeValidator) for mark in field.metadata)
        kind = section_of(field)
        if kind is None or (get_origin(field.annotation) is list and not (lists or one_or_more)):
            continue
        if issubclass(kind, Section):
            found[f"{prefix}{key}"] = kind
        found |= named_sections(kind, f"{prefix}{key}.", lists)
    return found
