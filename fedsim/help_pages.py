"""What ``--help``, ``--help KEY`` and ``--list`` show: keys, components, and the nearest of them to a word."""

import inspect
import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fedsim.build.components import build_components
from fedsim.build.registries import REGISTRIES, REGISTRY_OF
from fedsim.config.clients import OptimizerSection
from fedsim.config.run import RunConfig, parse_config
from fedsim.config.section import named_sections
from fedsim.errors import ConfigError, did_you_mean
from fedsim.registry import Description, Registry
from fedsim.settings import config_keys, section_in
from fedsim.training.optimizers import available_optimizers

COMPONENTS: Mapping[str, Registry[Any]] = {
    key: REGISTRY_OF[kind]
    for key, kind in sorted(named_sections(RunConfig, lists=True).items())
    if kind in REGISTRY_OF
}
"""Sections of the configuration that name a component, and where it is registered."""

OPTIMIZERS = tuple(key for key, kind in named_sections(RunConfig).items() if issubclass(kind, OptimizerSection))


def keys_text(given: Mapping[str, Any]) -> str:
    """Every key with the value that a run of a configuration has, and a line of help.

    Args:
        given: what the configuration says.
    """
    values = resolved(given)
    helps = {key: text for key, _, text in config_keys(RunConfig)}
    for section in COMPONENTS:
        name = values.get(f"{section}.name", "")
        settings = _described(section)[name].settings if name else {}
        helps |= {f"{section}.{key}": f"of {name}: {setting.help}" for key, setting in settings.items()}
    lines = ["keys, and their values where the command line says nothing else:"]
    for key, value in values.items():
        text = helps.get(key, f"of {key.rpartition('.')[0]}.name")
        lines.append(f"  {key} = {json.dumps(value)}".ljust(42) + f"  {text}")
    return "\n".join([*lines, "", "--help KEY says more of one, as in --help attack.name or --help attack.alie"])


def resolved(given: Mapping[str, Any]) -> dict[str, Any]:
    """Every dotted key of a configuration with its value, the settings of its components included."""
    return dict(_flat(build_components(parse_config(given)).resolved()))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def list_text() -> str:
    """Every component with its line of help, its settings and their defaults."""
    lines: list[str] = []
    for kind, registry in REGISTRIES.items():
        described: Mapping[str, Description] = registry.describe()
        lines += [f"{kind}:" if described else f"{kind}: none yet"]
        for name, description in described.items():
            lines += [f"  {name}: {description.summary}"]
            lines += [f"      {reference}" for reference in description.references]
            lines += [f"      {line}" for line in _settings(description)]
        lines += [""]
    return "\n".join(lines).rstrip()


def _settings(description: Description) -> list[str]:
    """A line for each setting: ``key = default  help``."""
    return [
        f"{key} = {json.dumps(setting.default)}".ljust(28) + f"  {setting.help}"
        for key, setting in description.settings.items()
    ]


def topic_text(topic: str, given: Mapping[str, Any]) -> str:
    """What is known of a key, of a section or of a component, as in ``--help attack.fang``.

    Args:
        given: what the configuration says that runs where no other is named.

    Raises:
        ConfigError: there is nothing of this name; the nearest is named.
    """
    found = [*_of_keys(topic), *_of_components(topic)]
    if not found:
        raise ConfigError("--help", f"there is no key or component '{topic}'", _nearest_topic(topic))
    default = {key: value for key, value, _ in config_keys(RunConfig)}.get(topic)
    value = resolved(given).get(topic, default)
    if value != default:
        found.insert(1, f"  without --config: {json.dumps(value)}")
    return "\n".join(found)


def _of_keys(topic: str) -> Iterator[str]:
    """Lines about the keys that the topic names: itself, or those of a section."""
    keys = {key: (default, text) for key, default, text in config_keys(RunConfig)}
    if topic in keys:
        default, text = keys[topic]
        yield f"{topic} = {json.dumps(default)}  {text}"
        yield from _line_of_choices(_field(topic))
    for key, (default, text) in keys.items():
        if key.startswith(f"{topic}."):
            yield f"{key} = {json.dumps(default)}".ljust(42) + f"  {text}"
    section = topic.removesuffix(".name")
    if f"{section}.name" in keys or topic in COMPONENTS:
        yield from _one_of(section)


def _one_of(section: str) -> Iterator[str]:
    """The components that a section may name."""
    if section in OPTIMIZERS:
        yield f"  choices: {', '.join(sorted(available_optimizers()))}"
    described = _described(section)
    if described:
        yield "choices:"
        yield from (f"  {name}".ljust(26) + f"  {one.summary}" for name, one in described.items())
        yield f"--help {section}.{next(iter(described))} shows the settings of one"


def _of_components(topic: str) -> Iterator[str]:
    """Lines about the component that the topic names, alone or behind its section, or whose setting it is."""
    section, _, last = topic.rpartition(".")
    for where in [section] if section else COMPONENTS:
        described = _described(where)
        if last in described and not (where.startswith("server") and not section):  # schedules are in two sections
            yield f"{where}.name={last}"
            yield from (f"  {line}".rstrip() for line in described[last].documentation.split("\n"))
            yield from (f"  {reference}" for reference in described[last].references)
            yield from [f"settings of '{last}':"] if described[last].settings else []
            yield from (f"  {line}" for line in _settings(described[last]))
            continue
        for name, one in described.items() if section else ():
            if last in one.settings:
                setting = one.settings[last]
                yield f"{topic} = {json.dumps(setting.default)}  of {where}.name={name}: {setting.help}"
                yield from _line_of_choices(COMPONENTS[where].get(name).Settings.model_fields[last])
    if section in OPTIMIZERS and last in available_optimizers():
        yield f"{section}.name={last}, with the arguments of torch.optim:"
        for argument in list(inspect.signature(available_optimizers()[last]).parameters.values())[1:]:
            yield f"  {section}.{argument.name} = {argument.default}"


def _described(section: str) -> Mapping[str, Description]:
    return COMPONENTS[section].describe() if section in COMPONENTS else {}


def _field(key: str) -> FieldInfo:
    """The field of a dotted key of the configuration; that of a component's setting is its section's ``name``."""
    schema: type[BaseModel] = RunConfig
    *parents, last = key.split(".")
    for part in parents:
        inside, _ = section_in(schema.model_fields[part])
        assert inside is not None, key
        schema = inside
    return schema.model_fields.get(last, schema.model_fields.get("name", FieldInfo()))


def _line_of_choices(field: FieldInfo) -> list[str]:
    """A line of the words that a key may be; none where it may be anything.

    >>> _line_of_choices(FieldInfo(annotation=Literal["cwmed", "mean"] | bool))
    ['  choices: cwmed, mean, true, false']
    """
    words = [json.dumps(value).strip('"') for value in _literals(field.annotation)]
    return [f"  choices: {', '.join(words)}"] if words else []


def _literals(annotation: Any) -> Iterator[Any]:
    if annotation is bool:
        yield from (True, False)
    elif get_origin(annotation) is Literal:
        yield from get_args(annotation)
    else:
        for part in get_args(annotation):
            yield from _literals(part)


def nearest_key(word: str) -> str | None:
    """The key of the configuration that a word most likely means; of a section, the name of its component.

    >>> [nearest_key(word) for word in ("rounds", "aggregator", "lr", "num-byzantin", "attack.numbyzantine", "xyz")]
    ['rounds', 'aggregator.name', 'clients.optimizer.lr', 'attack.num_byzantine', 'attack.num_byzantine', None]
    """
    word = word.replace("-", "_").lower()
    keys = [key for key, _, _ in config_keys(RunConfig)]
    for wanted in (word, f"{word}.name", f"{word}.count"):
        if wanted in keys:
            return wanted
    last_parts = {key.rpartition(".")[2]: key for key in reversed(keys)}
    if word in last_parts:
        return last_parts[word]
    near = get_close_matches(word, [*keys, *last_parts], n=1, cutoff=0.75)
    return last_parts.get(near[0], near[0]) if near else None


def _nearest_topic(topic: str) -> str:
    section, _, last = topic.rpartition(".")
    if _described(section):
        own = [key.rpartition(".")[2] for key, _, _ in config_keys(RunConfig) if key.rpartition(".")[0] == section]
        return did_you_mean(last, [*_described(section), *own])
    key = nearest_key(topic)
    components = [f"{where}.{name}" for where in COMPONENTS for name in _described(where)]
    bare = {name.rpartition(".")[2]: name for name in components}
    near = get_close_matches(topic, [*components, *bare], n=1)
    best = key or (bare.get(near[0], near[0]) if near else None)
    return f"did you mean '{best}'?" if best else "--help lists every key, --list every component"
