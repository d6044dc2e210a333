"""Settings: frozen, keyword-only, strict; every mistake becomes one ConfigError with its dotted key."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from fedsim.errors import ConfigError, did_you_mean


class Schema(BaseModel):
    """Base of every group of settings: no unknown keys, no silent conversion, no NaN.

    >>> class Ball(Schema):
    ...     radius: float = 1.0
    >>> Ball(radius=2).radius
    2.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


S = TypeVar("S", bound=Schema)


def parse_settings(schema: type[S], values: Mapping[str, Any], prefix: str = "") -> S:
    """Check ``values`` against ``schema``.

    Raises:
        ConfigError: the first mistake, its key prefixed by ``prefix``.
    """
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        # An unknown key is the likeliest cause of what else is wrong, so it is told first.
        details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
        raise _explain(schema, details[0]).under(prefix) from None


def _explain(schema: type[BaseModel], detail: ErrorDetails) -> ConfigError:
    location = [part for part in detail["loc"] if not _is_union_branch(part)]
    key = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        return ConfigError(
            key,
            f"unknown key (value {detail['input']!r})",
            did_you_mean(str(location[-1]), _keys_at(schema, location[:-1])),
        )
    if detail["type"] == "missing":
        return ConfigError(key, "missing", "give a value")
    message = detail["msg"].removeprefix("Value error, ")
    return ConfigError(key, f"{detail['input']!r} is not allowed", message[0].lower() + message[1:])


def _is_union_branch(part: int | str) -> bool:
    """Pydantic puts the tried type of a union (``int``, ``literal['auto']``) into the location."""
    return isinstance(part, str) and (part in {"int", "float", "str", "bool"} or "[" in part)


def _keys_at(schema: type[BaseModel], location: list[int | str]) -> list[str]:
    for part in location:
        field = schema.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        schema = field.annotation
    return list(schema.model_fields)
