"""Configuration files and overrides."""

import os
from pathlib import Path

import pytest

from fedsim.build.attack_plan import plan_attacks
from fedsim.cli import QUICKSTART
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.errors import ConfigError
from support.configuration import configured


def test_naming_another_component_drops_the_settings_of_the_one_before() -> None:
    config = configured("aggregator.name=fedavg", "attack.name=alie", "attack.z=2.0", "clients.optimizer.name=adamw")
    assert config.aggregator.component_settings == {}
    assert config.attack[0].component_settings == {"z": 2.0}
    assert config.attack[0].num_byzantine == 3
    assert config.clients.optimizer.component_settings == {}


def test_the_last_override_wins() -> None:
    assert configured("model={name: mlp}", "model.name=small_cnn").model.name == "small_cnn"
    config = configured("attack={name: none}", "attack.name=alie", "attack.num_byzantine=2")
    assert (config.attack[0].name, config.attack[0].num_byzantine) == ("alie", 2)
    assert configured("attack.z=2.0", "attack.name=alie").attack[0].component_settings == {"z": 2.0}


def test_naming_the_byzantine_clients_replaces_their_number_in_the_file() -> None:
    assert plan_attacks(configured("attack.clients=[0]")).ever == (0,)


def test_overrides_leave_the_given_values_alone() -> None:
    values = read_yaml(QUICKSTART)
    apply_overrides(values, ["clients.optimizer.lr=9.0", "data.partition.name=iid"])
    assert values == read_yaml(QUICKSTART)


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert configured("clients.optimizer.lr=1e-3").clients.optimizer.component_settings["lr"] == 1e-3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 0\nseed: 1\n", "twice"),
        ("seed: [\n", "line 2"),
        ("- 1\n", "mapping"),
        ("seed: !!python/object/apply:os.system ['touch hacked']\n", "python/object"),
        ("seed: \x01\n", "special characters"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert says in str(caught.value)
    assert "bad.yaml" in str(caught.value)
    assert not (tmp_path / "hacked").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        read_yaml(tmp_path / "nowhere.yaml")


def test_too_many_or_too_deep_settings_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^command line: 5000 settings, and no more than 1000"):
        apply_overrides({}, [f"aggregator.key_{number}=1" for number in range(5000)])
    with pytest.raises(ConfigError, match=r"more than 32 levels of keys"):
        apply_overrides({}, [".".join("abcd" * 3000) + "=1"])


def test_of_an_endless_file_only_the_beginning_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("w") as file:
        file.truncate(10**11)  # sparse: it has no blocks on disk
    with pytest.raises(ConfigError, match=r"more than 1048576 characters"):
        read_yaml(path)


def test_a_note_about_a_replaced_component_is_one_line() -> None:
    name = "x\\e[31m" + "y" * 9000
    _, notes = apply_overrides({"aggregator": {"name": "krum", "f": 1}}, [f'aggregator.name="{name}"'])
    assert len(notes) == 1
    assert notes[0].isprintable()
    assert len(notes[0]) < 300


def test_a_pipe_that_the_shell_hands_over_is_read() -> None:
    """As for ``--config <(...)``."""
    reads, writes = os.pipe()
    os.write(writes, b"rounds: 3")
    os.close(writes)
    try:
        assert read_yaml(Path(f"/dev/fd/{reads}")) == {"rounds": 3}
    finally:
        os.close(reads)
