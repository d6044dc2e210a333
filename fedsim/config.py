"""The configuration of a run: YAML plus dotted overrides, checked before anything starts.

Sections that name a component (``data``, ``attack``, ...) keep the component's own settings apart, in
``own``: which of them are valid only the component knows, and it is not this module's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from fedsim.errors import ConfigError
from fedsim.settings import Schema, parse_settings


class Section(Schema):
    """A component by name; keys that are not the section's own go to the component."""

    name: str = Field(description="which one (see --list)")
    own: dict[str, Any] = Field(default_factory=dict, description="the component's own settings", exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        known = {key: value for key, value in values.items() if key in cls.model_fields and key != "own"}
        given = values.get("own", {})
        return {**known, "own": {**given, **{k: v for k, v in values.items() if k not in cls.model_fields}}}

    def flat(self) -> dict[str, Any]:
        """The section as it is written in YAML."""
        fields = {key: _plain(getattr(self, key)) for key in type(self).model_fields if key != "own"}
        return {**fields, **self.own}


class PartitionSection(Section):
    name: str = Field("dirichlet", description="how training samples are shared out among the clients")


class DataSection(Section):
    name: str = Field("mnist5k", description="data set")
    root: str | None = Field(None, description="folder of the data, where the data set needs one")
    partition: PartitionSection = Field(default_factory=lambda: PartitionSection(), description="partitioner")


class ModelSection(Section):
    name: str = Field("small_cnn", description="model")


class OptimizerSection(Section):
    name: str = Field("sgd", description="any optimiser of torch.optim, by its class name in any case")


class ClientsSection(Schema):
    count: int = Field(8, ge=1, description="K, number of clients")
    fraction: float = Field(
        1.0, gt=0, le=1, description="share of the clients that takes part in a round, drawn anew"
    )
    local_epochs: int = Field(1, ge=1, description="passes over the client's data in a round")
    local_steps: int | None = Field(None, ge=1, description="optimiser steps in a round, instead of local_epochs")
    batch_size: int = Field(32, ge=1, description="samples in a batch; batches of one sample are skipped")
    send: Literal["delta", "gradient"] = Field(
        "delta", description="delta: w_global - w_client; gradient: of one batch, needs local_steps: 1"
    )
    optimizer: OptimizerSection = Field(
        default_factory=lambda: OptimizerSection(own={"lr": 0.02, "momentum": 0.9, "weight_decay": 0.0}),
        description="of the clients, new in every round",
    )


class AttackSection(Section):
    name: str = Field("none", description="attack")
    num_byzantine: int | None = Field(None, ge=0, description="B, the last B clients attack")
    clients: list[int] | None = Field(None, description="ids of the clients that attack, instead of num_byzantine")
    allow_byzantine_majority: bool = Field(False, description="permit B >= K/2")

    def byzantine_clients(self, count: int) -> tuple[int, ...]:
        """Ids of the Byzantine clients among ``count``."""
        if self.clients is not None:
            return tuple(sorted(self.clients))
        return tuple(range(count - (self.num_byzantine or 0), count))


class PreSection(Section):
    pass


class AggregatorSection(Section):
    name: str = Field("fedseca", description="aggregator")
    pre: list[PreSection] = Field(default_factory=list, description="pre-aggregators in front of it, in order")


class ServerOptimizerSection(OptimizerSection):
    pass


class ServerSection(Schema):
    optimizer: ServerOptimizerSection = Field(
        default_factory=lambda: ServerOptimizerSection(own={"lr": 1.0}), description="takes the aggregate as gradient"
    )
    buffers: Literal["cwmed", "mean", "in_row"] = Field(
        "cwmed", description="how BatchNorm buffers are aggregated; in_row: as further coordinates of the row"
    )


class EvaluationSection(Schema):
    every: int = Field(1, ge=1, description="rounds between evaluations; the last round is always evaluated")
    batch_size: int = Field(250, ge=1, description="samples in an evaluation batch")


class CheckpointSection(Schema):
    every: int = Field(5, ge=1, description="rounds between checkpoints; the last round always gets one")
    keep: int = Field(2, ge=1, description="how many checkpoints stay on disk")


class RuntimeSection(Schema):
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where clients compute")
    threads: int = Field(1, ge=1, description="CPU threads of each rank; results depend on it")
    deterministic: bool = Field(True, description="deterministic algorithms only")
    compile: bool = Field(False, description="torch.compile the clients' model; results depend on it")
    wire_dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="rows are rounded to it")
    nonfinite: Literal["drop", "zero", "error"] = Field("drop", description="rows with NaN or infinity")
    check_every: int = Field(10, ge=1, description="rounds between checks that all ranks hold the same parameters")
    timeout: float = Field(600, gt=0, description="seconds that ranks wait for each other")


class RunConfig(Schema):
    """Every key of a run, with the defaults of configs/quickstart.yaml but no attack."""

    seed: int = Field(0, ge=0, description="every draw of the run derives from it")
    rounds: int = Field(20, ge=1, description="rounds to run")
    output_dir: str = Field("runs", description="folder of all run directories")
    run_name: str | None = Field(
        None, min_length=1, pattern=r"^[^/\0]+$", description="made from data, attack, aggregator and seed if null"
    )
    data: DataSection = Field(default_factory=lambda: DataSection())
    model: ModelSection = Field(default_factory=lambda: ModelSection())
    clients: ClientsSection = Field(default_factory=lambda: ClientsSection())
    attack: AttackSection = Field(default_factory=lambda: AttackSection())
    aggregator: AggregatorSection = Field(default_factory=lambda: AggregatorSection())
    server: ServerSection = Field(default_factory=lambda: ServerSection())
    evaluation: EvaluationSection = Field(default_factory=lambda: EvaluationSection())
    checkpoint: CheckpointSection = Field(default_factory=lambda: CheckpointSection())
    runtime: RuntimeSection = Field(default_factory=lambda: RuntimeSection())

    @property
    def byzantine_clients(self) -> tuple[int, ...]:
        """Ids of the clients under the attacker's control."""
        return self.attack.byzantine_clients(self.clients.count)

    @property
    def participants_per_round(self) -> int:
        """How many clients take part in a round: at least one."""
        return max(1, round(self.clients.count * self.clients.fraction))

    def flat(self) -> dict[str, Any]:
        """The configuration as plain YAML values."""
        return {key: _plain(getattr(self, key)) for key in type(self).model_fields}


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.flat()
    if isinstance(value, Schema):
        return {key: _plain(getattr(value, key)) for key in type(value).model_fields}
    return [_plain(item) for item in value] if isinstance(value, list) else value


# Reading ------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML without code, without duplicate keys, and with 1e-3 as the number it looks like."""


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for position, (key, (key_node, _)) in enumerate(zip(keys, node.value, strict=True)):
        if key in keys[:position]:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' is there twice", key_node.start_mark)
    return dict(yaml.SafeLoader.construct_mapping(loader, node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text; ConfigError with the place of a syntax error, a tag or a duplicate key."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{source}, line {mark.line + 1}, column {mark.column + 1}" if mark else source
        raise ConfigError("", f"{place}: {error.problem}", "mend the YAML") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError("", f"{source}: {str(error).splitlines()[0]}", "mend the YAML") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError if it is missing, unreadable or no mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--config", f"cannot read {path}: {error}", "give a readable YAML file") from None
    values = parse_yaml(text, str(path))
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError("--config", f"{path} does not hold a mapping of keys", "write 'key: value' lines")
    return values


NAMED_SECTIONS: dict[str, frozenset[str]] = {
    "data": frozenset({"root", "partition"}),
    "data.partition": frozenset(),
    "model": frozenset(),
    "clients.optimizer": frozenset(),
    "attack": frozenset({"num_byzantine", "clients", "allow_byzantine_majority"}),
    "aggregator": frozenset({"pre"}),
    "server.optimizer": frozenset(),
}
"""Sections that name a component, with the keys that stay when another component is named."""


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """``values`` with ``dotted.key=value`` applied, and notes about settings that a new name has replaced.

    Naming another component drops the settings that belonged to the one before; overrides of settings
    apply to the new one, wherever they stand on the command line.

    >>> apply_overrides({"aggregator": {"name": "fedseca", "momentum": 0.5}}, ["aggregator.name=cwmed"])
    ({'aggregator': {'name': 'cwmed'}}, ["aggregator.name=cwmed: the settings of 'fedseca' (momentum) are dropped"])
    """
    result, notes = dict(values), []
    pairs = [_split_override(override) for override in overrides]
    for key, value in sorted(pairs, key=lambda pair: not pair[0].endswith(".name")):
        section = key.removesuffix(".name")
        if key.endswith(".name") and section in NAMED_SECTIONS:
            notes += _drop_settings_of_other(result, section, value)
        _assign(result, key, value)
    return result, notes


def _split_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*", key):
        raise ConfigError("", f"'{override}' is neither an option nor dotted.key=value", "for example rounds=5")
    return key, parse_yaml(text, f"{key}=")


def _drop_settings_of_other(values: dict[str, Any], section: str, name: Any) -> list[str]:
    *parents, last = section.split(".")
    holder: Any = values
    for part in parents:
        holder = holder.get(part) if isinstance(holder, dict) else None
    before = holder.get(last) if isinstance(holder, dict) else None
    if not isinstance(before, dict) or before.get("name", name) == name:
        return []
    kept = {key: value for key, value in before.items() if key in NAMED_SECTIONS[section] or key == "name"}
    dropped = [key for key in before if key not in kept]
    _assign(values, section, kept)
    if not dropped:
        return []
    return [f"{section}.name={name}: the settings of '{before['name']}' ({', '.join(dropped)}) are dropped"]


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


# Checking -----------------------------------------------------------------------------------------


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """The checked configuration.

    Raises:
        ConfigError: the first problem, by dotted key.
    """
    config = parse_settings(RunConfig, values)
    _check_byzantine(config)
    if config.clients.send == "gradient" and config.clients.local_steps != 1:
        raise ConfigError("clients.send", "'gradient' is of one step", "set clients.local_steps: 1")
    return config


def _check_byzantine(config: RunConfig) -> None:
    attack, count = config.attack, config.clients.count
    if attack.clients is not None and attack.num_byzantine not in (None, len(attack.clients)):
        raise ConfigError(
            "attack.num_byzantine",
            f"{attack.num_byzantine} contradicts attack.clients {attack.clients}",
            "give one of the two",
        )
    if attack.num_byzantine is not None and attack.num_byzantine > count:
        raise ConfigError("attack.num_byzantine", f"{attack.num_byzantine} of {count} clients", "give fewer")
    if attack.clients is not None:
        unknown = [client for client in attack.clients if not 0 <= client < count]
        if unknown or len(set(attack.clients)) < len(attack.clients):
            raise ConfigError("attack.clients", f"{attack.clients}", f"give different ids from 0 to {count - 1}")
    byzantine = len(config.byzantine_clients)
    if attack.name != "none" and byzantine == 0 and attack.num_byzantine is None:
        raise ConfigError("attack.num_byzantine", "missing", f"say how many clients attack by '{attack.name}'")
    if 2 * byzantine >= count and byzantine and not attack.allow_byzantine_majority:
        raise ConfigError(
            "attack.num_byzantine" if attack.clients is None else "attack.clients",
            f"{byzantine} Byzantine of {count} clients are half or more",
            f"at most {(count - 1) // 2}, or set attack.allow_byzantine_majority: true",
        )


def differing_keys(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ.

    >>> differing_keys({"seed": 0, "data": {"name": "a"}}, {"seed": 0, "data": {"name": "b"}})
    ['data.name']
    """
    keys = []
    for key in sorted({*first, *second}):
        one, other = first.get(key), second.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            keys += differing_keys(one, other, f"{prefix}{key}.")
        elif one != other:
            keys.append(f"{prefix}{key}")
    return keys
