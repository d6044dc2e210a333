"""Settings: frozen, keyword-only, strict; every mistake becomes one ConfigError with its dotted key."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from fedsim.errors import ConfigError, did_you_mean, unknown_key

LARGEST = 2**64 - 1
"""Of the whole numbers that are settings, of either sign: seeds have up to 64 bits."""


class Schema(BaseModel):
    """Base of every group of settings: no unknown keys, no silent conversion, no NaN, no number of more than 64 bits.

    >>> class Ball(Schema):
    ...     radius: float = 1.0
    >>> Ball(radius=2).radius
    2.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    @field_validator("*")
    @classmethod
    def _refuse_huge(cls, value: Any) -> Any:
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > LARGEST:
                raise PydanticCustomError("huge", "be a number of at most 64 bits")
        return value


S = TypeVar("S", bound=Schema)


def parse_settings(schema: type[S], values: Mapping[str, Any], prefix: str = "") -> S:
    """Check ``values`` against ``schema``.

    Raises:
        ConfigError: the first mistake, its key prefixed by ``prefix``.
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        # An unknown key is the likeliest cause of what else is wrong, so it is reported first.
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        raise _explain(schema, details).under(prefix) from None


def _explain(schema: type[BaseModel], details: list[ErrorDetails]) -> ConfigError:
    """The first problem; the several that a value of alternative types has (``int`` or ``'auto'``) are one."""
    first = details[0]
    location = _keys_and_positions(schema, first)
    key = ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        return ConfigError(
            key,
            unknown_key(first["input"]),
            did_you_mean(str(location[-1]), _keys_at(schema, location[:-1]), _elsewhere(schema, location)),
        )
    if first["type"] == "missing":
        return ConfigError(key, "missing", "give a value")
    written = _by_name(schema, location, first["input"])
    if written:
        return ConfigError(key, f"{first['input']!r} is not a section of keys", written)
    same = [detail for detail in details if _keys_and_positions(schema, detail) == location]
    wanted = " or ".join(dict.fromkeys(_what_it_should(detail) for detail in same))
    if isinstance(first["input"], bool) and first["type"] != "string_type":
        wanted += "; yes, no, on and off are true and false in YAML unless they stand in quotes"
    return ConfigError(key, f"{first['input']!r} is not allowed", f"it should {wanted}")


def config_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Every dotted key of a schema with its default and its line of help."""
    for name, field in schema.model_fields.items():
        if name == "component_settings":
            continue
        kind, default = section_in(field)
        if kind is not None:
            yield from config_keys(kind, f"{prefix}{name}.")
            settings = getattr(default, "component_settings", {})
            yield from (
                (f"{prefix}{name}.{key}", value, f"of {prefix}{name}.name") for key, value in settings.items()
            )
        else:
            yield f"{prefix}{name}", default, field.description or ""


def section_in(field: FieldInfo) -> tuple[type[BaseModel] | None, Any]:
    """The schema of a field that is a section (or one section or several), and its default; None for a plain key."""
    default = field.get_default(call_default_factory=True)
    if isinstance(default, list) and len(default) == 1 and isinstance(default[0], BaseModel):
        default = default[0]
    return (type(default) if isinstance(default, BaseModel) else None), default


def _elsewhere(schema: type[BaseModel], location: Sequence[int | str]) -> str | None:
    """The key or section of this name that lies elsewhere, under the sections that were named if it can be."""
    *sections, word = map(str, location)
    found = []
    for key, _, _ in config_keys(schema):
        parts = key.split(".")
        if word in parts:
            found.append(".".join(parts[: parts.index(word) + 1]))
    return min(found, key=lambda key: key.split(".")[: len(sections)] != sections, default=None)


def _by_name(schema: type[BaseModel], location: list[int | str], value: Any) -> str:
    """How the name or number given in place of a section is written; empty for any other mistake."""
    section: type[BaseModel] | None = schema
    for part in location:
        section = _section(section, part) if section is not None and isinstance(part, str) else section
    key = "name" if isinstance(value, str) else "count"
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    if section is None or section is schema or key not in section.model_fields:
        return ""
    if isinstance(location[-1], int):
        return f"write {{{key}: {value}}}"
    if _is_list(schema, location):
        dotted = ".".join(map(str, location))
        return f"write '{dotted}=[{{{key}: {value}}}]', in YAML {location[-1]}: [{{{key}: {value}}}]"
    return f"write {'.'.join(map(str, location))}.{key}={value}, in YAML {location[-1]}: {{{key}: {value}}}"


def _is_list(schema: type[BaseModel], location: Sequence[int | str]) -> bool:
    """Whether a list of sections is wanted there."""
    *sections, last = map(str, location)
    holder: type[BaseModel] | None = schema
    for part in sections:
        holder = _section(holder, part) if holder is not None else None
    return holder is not None and get_origin(holder.model_fields[last].annotation) is list


def _what_it_should(detail: ErrorDetails) -> str:
    if detail["type"] == "model_type":
        return "be a section of keys"
    if detail["type"] == "string_type" and isinstance(detail["input"], bool | int | float):
        example = detail["input"] if type(detail["input"]) is int else "..."
        if detail["loc"][-1] == "[key]":
            return f'be text: write it in quotes, "{example}":'
        return f'be text: write it in quotes, {detail["loc"][-1]}: "{example}" (in a shell \'"{example}"\')'
    return re.sub(r"^(Input|String|List) should | after validation", "", detail["msg"])


def _keys_and_positions(schema: type[BaseModel], detail: ErrorDetails) -> list[int | str]:
    """Where the problem is, without the names of alternative types that pydantic puts in between."""
    location: list[int | str] = []
    inside: type[BaseModel] | None = schema
    for position, part in enumerate(detail["loc"]):
        unknown_key = detail["type"] == "extra_forbidden" and position == len(detail["loc"]) - 1
        if isinstance(part, int) or unknown_key or (inside is not None and part in inside.model_fields):
            location.append(part)
        if isinstance(part, str) and inside is not None:
            inside = _section(inside, part)
    return location


def _keys_at(schema: type[BaseModel], location: list[int | str]) -> list[str]:
    inside: type[BaseModel] | None = schema
    for part in location:
        inside = _section(inside, str(part)) if inside is not None else None
    return list(inside.model_fields) if inside is not None else []


def _section(schema: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The schema of the section ``key``, also in a list or as an alternative; None if it is a plain value."""
    field = schema.model_fields.get(key)
    kind = field.annotation if field is not None else None
    kinds = get_args(kind) or (kind,)  # of a list, or of alternatives such as a section or null
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
