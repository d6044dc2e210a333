"""What a configuration says beyond its defaults."""

from typing import Any

import pytest

from fedsim.build.components import build_components
from fedsim.build.given_settings import given_settings
from fedsim.config.run import parse_config
from fedsim.yaml_text import parse_yaml, yaml_text

GIVEN: dict[str, Any] = {
    "rounds": 4,
    "data": {"name": "synthetic", "num_train": 77, "augment": [{"name": "flip"}], "partition": {"name": "iid"}},
    "clients": {"count": 9, "optimizer": {"lr": 0.5}, "schedule": {"name": "cosine", "over": 9}},
    "attack": {"name": "fang", "num_byzantine": 2, "target": "krum"},
    "aggregator": {"name": "krum", "pre": [{"name": "nnm", "num_byzantine": 3}]},
    "server": {"optimizer": {"name": "adam", "lr": 0.25}},
}


def given(values: dict[str, Any]) -> dict[str, Any]:
    return given_settings(build_components(parse_config(values)).resolved())


def test_nothing_is_given_by_a_configuration_of_defaults() -> None:
    assert given({}) == {}


def test_what_is_given_is_what_was_typed() -> None:
    assert given(GIVEN) == GIVEN


def test_defaults_that_are_typed_are_not_given() -> None:
    typed = {**GIVEN, "seed": 0, "model": {"name": "small_cnn"}, "evaluation": {"every": 1}}
    typed["clients"] = {**GIVEN["clients"], "momentum": 0.0, "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9}}
    assert given(typed) == GIVEN


def test_a_file_gives_the_same_as_its_configuration() -> None:
    resolved = build_components(parse_config(GIVEN)).resolved()
    assert given_settings(parse_yaml(yaml_text(resolved), "file")) == GIVEN


@pytest.mark.parametrize("attacks", [[{"name": "alie", "num_byzantine": 1, "last_round": 2}, {"name": "none"}]])
def test_several_attacks_keep_their_order(attacks: list[dict[str, Any]]) -> None:
    resolved = {"attack": [{**attack, "allow_byzantine_majority": False} for attack in attacks]}
    assert given_settings(resolved) == {"attack": [attacks[0], {}]}


def test_what_no_version_knows_is_given() -> None:
    unknown = {"aggregator": {"name": "of_a_plugin", "strength": 1.0}, "runtime": {"gone": True}}
    assert given_settings(unknown) == unknown
