"""Sections of the configuration that name a component.

They keep the component's own settings apart, in ``own``: which of them are valid only the component knows, and
it is not the configuration's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from fedsim.settings import Schema


class Section(Schema):
    """A component by name; keys that are not the section's own go to the component."""

    name: str = Field(description="which one (see --list)")
    own: dict[str, Any] = Field(default_factory=dict, description="the component's own settings", exclude=True)

    defaults_for: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings that a component of this name gets where the user gives no other."""

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        fields = cls.model_fields.keys() - {"own"}
        name = values.get("name", cls.model_fields["name"].default)
        defaults = cls.defaults_for.get(name, {}) if isinstance(name, str) else {}
        own = {key: value for key, value in values.items() if key not in fields}
        return {**{key: values[key] for key in values if key in fields}, "own": {**defaults, **own}}

    def flat(self) -> dict[str, Any]:
        """The section as it is written in YAML."""
        fields = {key: plain(getattr(self, key)) for key in type(self).model_fields if key != "own"}
        return {**fields, **self.own}


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
