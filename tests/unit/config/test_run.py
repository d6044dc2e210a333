"""Defaults of a run, and its Byzantine clients."""

import pytest

from fedsim.build.attack_plan import plan_attacks
from fedsim.build.components import build_components
from fedsim.cli import QUICKSTART
from fedsim.config.run import RunConfig, parse_config
from fedsim.config.source import differing_keys, read_yaml
from fedsim.errors import ConfigError
from support.configuration import configured


def test_quickstart_spells_out_the_defaults_except_attack_and_momentum() -> None:
    assert set(differing_keys(RunConfig().flat(), configured().flat())) == {
        "attack.name",
        "attack.num_byzantine",
        "aggregator.momentum",
        "data.partition.alpha",
    }


def test_quickstart_resolves_to_the_defaults_except_what_it_says_it_does_not() -> None:
    text = QUICKSTART.read_text(encoding="utf-8")
    assert "but for attack and aggregator.momentum" in text
    default = parse_config({})
    spelled, bare = (build_components(config).resolved() for config in (configured(), default))
    differing = differing_keys(bare, spelled)
    assert {key if key == "aggregator.momentum" else key.split(".")[0] for key in differing} == {
        "attack",
        "aggregator.momentum",
    }
    for key, value in {"seed": 0, "rounds": 10, "output_dir": "runs"}.items():
        assert read_yaml(QUICKSTART)[key] == bare[key] == value


def test_a_partial_optimiser_section_keeps_the_documented_defaults() -> None:
    assert parse_config({"server": {"optimizer": {"momentum": 0.0}}}).server.optimizer.component_settings == {
        "lr": 1.0,
        "momentum": 0.0,
    }
    optimizer = parse_config({"clients": {"optimizer": {"weight_decay": 0.1}}}).clients.optimizer
    assert optimizer.component_settings == {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}


def test_byzantine_clients_are_the_last_or_those_named() -> None:
    assert plan_attacks(configured()).ever == (5, 6, 7)
    assert plan_attacks(configured("attack.num_byzantine=null", "attack.clients=[4, 1]")).ever == (1, 4)
    assert plan_attacks(configured("attack.num_byzantine=4", "attack.allow_byzantine_majority=true")).ever == (
        4,
        5,
        6,
        7,
    )


@pytest.mark.parametrize(
    "override",
    [
        "rounds=2000000000",
        "clients.count=1000001",
        "data.resize=99999",
        "data.crop=16385",
        "data.resolution=20000",
        "evaluation.every=99999999999999999999999",
        "seed=36893488147419103232",
        f"run_name={'n' * 251}",
        f"aggregator.pre=[{', '.join(['{name: nnm}'] * 101)}]",
        f"attack=[{', '.join(['{name: ipm, num_byzantine: 1}'] * 101)}]",
    ],
)
def test_sizes_have_limits_that_name_their_key(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(override)
    assert caught.value.key == override.partition("=")[0]
    assert len(str(caught.value)) < 300


def test_seeds_have_64_bits() -> None:
    assert configured("seed=18446744073709551615").seed == 2**64 - 1
