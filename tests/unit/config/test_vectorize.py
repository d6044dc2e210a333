"""Settings of clients.vectorize, and what does not go with it."""

import pytest

from fedsim.build.components import build_components
from fedsim.build.rehearsal import rehearse
from fedsim.errors import ConfigError
from support.configuration import configured


@pytest.mark.parametrize("setting", ["compile=true", "amp=bfloat16", "amp=float16", "channels_last=true"])
def test_what_vmap_does_not_go_with_is_refused_by_its_key(setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured("clients.vectorize=4", f"runtime.{setting}")
    assert caught.value.key == "clients.vectorize"
    assert f"runtime.{setting.replace('=', ': ')}" in str(caught.value)
    configured("clients.vectorize=1", f"runtime.{setting}")


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "true", "1000001"])
def test_it_is_a_number_of_clients(value: str) -> None:
    with pytest.raises(ConfigError, match=r"clients\.vectorize"):
        configured(f"clients.vectorize={value}")


def test_no_more_clients_are_trained_at_once_than_take_part() -> None:
    assert configured("clients.vectorize=64").clients_at_once == 8
    assert configured("clients.vectorize=64", "clients.fraction=0.5").clients_at_once == 4
    assert configured("clients.vectorize=3").clients_at_once == 3
    assert configured().clients_at_once == 1


@pytest.mark.parametrize(
    ("options", "ranks"),
    [([], 8), (["clients.vectorize=3"], 3), (["clients.vectorize=3", "clients.fraction=0.5"], 2)],
)
def test_a_group_is_on_one_rank(options: list[str], ranks: int) -> None:
    assert configured(*options).most_hosts == ranks


def test_an_optimiser_that_cannot_is_refused_before_anything_starts_unless_no_step_is_taken() -> None:
    options = ["clients.vectorize=2", "clients.optimizer={name: adafactor, lr: 0.01}"]
    with pytest.raises(ConfigError, match=r"clients\.vectorize: the optimiser adafactor"):
        build_components(configured(*options))
    build_components(configured(*options, "clients.send=gradient", "clients.local_steps=1"))


def test_check_refuses_a_model_that_cannot() -> None:
    options = ["clients.vectorize=2", "model.batch_norm=true"]
    with pytest.raises(ConfigError, match=r"clients\.vectorize: the module '0\.1' \(BatchNorm2d\)"):
        rehearse(build_components(configured(*options)))
    rehearse(build_components(configured(*options[:1])))
