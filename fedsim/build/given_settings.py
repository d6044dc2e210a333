"""What a configuration says beyond the defaults: by this, runs of different versions of fedsim are compared."""

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from fedsim.aggregators import aggregators
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import attacks
from fedsim.config.attack import AttackSection
from fedsim.config.run import (
    AggregatorSection,
    AugmentSection,
    DataSection,
    LossSection,
    ModelSection,
    PartitionSection,
    PreSection,
    RunConfig,
    ScheduleSection,
)
from fedsim.config.section import Section, plain
from fedsim.data.augmentations import augmentations
from fedsim.data.partitioners import partitioners
from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from fedsim.models import models
from fedsim.registry import Registry
from fedsim.training.losses import losses
from fedsim.training.schedules import schedules

REGISTRY_OF: Mapping[type[Section], Registry[Any]] = {
    DataSection: sources,
    PartitionSection: partitioners,
    AugmentSection: augmentations,
    ModelSection: models,
    AttackSection: attacks,
    AggregatorSection: aggregators,
    PreSection: pre_aggregators,
    LossSection: losses,
    ScheduleSection: schedules,
}


def given_settings(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a resolved configuration that differ from their defaults.

    A key that an older version did not know, and one that has its default, are the same to it.

    >>> given_settings({"seed": 0, "rounds": 7, "aggregator": {"name": "krum", "pre": []}, "unknown": 1})
    {'rounds': 7, 'aggregator': {'name': 'krum'}, 'unknown': 1}
    """
    return _given(RunConfig, _with_lists(resolved))


def _given(schema: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    defaults, given = _defaults(schema, values), {}
    for key, value in values.items():
        inside = _section(schema, key)
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


def _defaults(schema: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """What a section holds, of its own and of the component that it names, where nothing is given."""
    own = schema.model_fields.items()
    defaults = {
        key: plain(field.get_default(call_default_factory=True)) for key, field in own if not field.is_required()
    }
    if not issubclass(schema, Section):
        return defaults
    name = values.get("name", defaults.get("name"))
    return {**defaults, **schema.defaults_for.get(str(name), {}), **_component_defaults(schema, str(name))}


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


def _section(schema: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The schema of the section ``key``, or of the sections in a list of them."""
    field = schema.model_fields.get(key)
    kind = None if field is None else field.annotation
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
