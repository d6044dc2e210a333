"""What a configuration says beyond the defaults: by this, runs of different versions of fedsim are compared."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from fedsim.build.registries import REGISTRY_OF
from fedsim.config.run import RunConfig
from fedsim.config.section import Section, plain, section_of
from fedsim.errors import ConfigError


def given_settings(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a resolved configuration that differ from their defaults.

    A key that an older version did not know, and one that has its default, are the same to it.

    >>> given_settings({"seed": 0, "rounds": 7, "aggregator": {"name": "krum", "pre": []}, "unknown": 1})
    {'rounds': 7, 'aggregator': {'name': 'krum'}, 'unknown': 1}
    """
    return _given(RunConfig, _with_lists(resolved))


def decisive_settings(resolved: Mapping[str, Any], free: Collection[str]) -> dict[str, Any]:
    """What :func:`given_settings` says, in one form: 1.0 is 1, and a section without settings is none.

    Args:
        free: dotted keys that do not count.

    >>> decisive_settings({"rounds": 7, "aggregator": {"name": "cwtm", "clip": 2.0}}, free=("rounds",))
    {'aggregator': {'name': 'cwtm', 'clip': 2}}
    """
    return _decisive(given_settings(resolved), free)


def _decisive(settings: Mapping[str, Any], free: Collection[str], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in settings.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            value = _decisive(value, free, f"{dotted}.")
        if dotted not in free and value != {}:
            kept[key] = int(value) if isinstance(value, float) and value.is_integer() else value
    return kept


def _given(schema: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    defaults, given = _defaults(schema, values), {}
    for key, value in values.items():
        field = schema.model_fields.get(key)
        inside = None if field is None else section_of(field)
        if inside is not None and isinstance(value, Mapping):
            if rest := _given(inside, value):
                given[key] = rest
        elif key not in defaults or value != defaults[key]:
            given[key] = _given_items(inside, value)
    return given


def _given_items(inside: type[BaseModel] | None, value: Any) -> Any:
    if inside is None or not isinstance(value, list):
        return value
    return [_given(inside, item) if isinstance(item, Mapping) else item for item in value]


def _defaults(schema: type[BaseModel], values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a section holds, of its own and of the component that it names, where nothing is given."""
    defaults = _own_defaults(schema)
    if not issubclass(schema, Section):
        return defaults
    name = values.get("name", defaults.get("name"))
    return {**defaults, **schema.defaults_for.get(str(name), {}), **_component_defaults(schema, str(name))}


@cache  # a sweep asks for each of its cells
def _own_defaults(schema: type[BaseModel]) -> Mapping[str, Any]:
    fields = schema.model_fields.items()
    return {
        key: plain(field.get_default(call_default_factory=True)) for key, field in fields if not field.is_required()
    }


def _component_defaults(schema: type[Section], name: str) -> dict[str, Any]:
    registry = REGISTRY_OF.get(schema)
    if registry is None:
        return {}
    try:
        settings: type[BaseModel] = registry.get(name).Settings
    except ConfigError:  # of another version, or of a plugin that is not here
        return {}
    defaults: dict[str, Any] = _with_lists(settings.model_construct().model_dump())
    return defaults


def _with_lists(value: Any) -> Any:
    """The value as it comes back from a file, which has no tuples."""
    if isinstance(value, Mapping):
        return {key: _with_lists(item) for key, item in value.items()}
    return [_with_lists(item) for item in value] if isinstance(value, list | tuple) else value
