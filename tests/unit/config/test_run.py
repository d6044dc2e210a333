"""Defaults of a run, and its Byzantine clients."""

from fedsim.build.attack_plan import plan_attacks
from fedsim.config.run import RunConfig, parse_config
from fedsim.config.source import differing_keys
from support.configuration import configured


def test_quickstart_spells_out_the_defaults_except_attack_and_momentum() -> None:
    assert set(differing_keys(RunConfig().flat(), configured().flat())) == {
        "attack.name",
        "attack.num_byzantine",
        "aggregator.momentum",
        "data.partition.alpha",
    }


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
