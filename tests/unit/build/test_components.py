"""Mistakes in a configuration: one message that names the key, the value and the nearest valid choice."""

import warnings
from pathlib import Path

import pytest

from fedsim.aggregators import available_aggregators
from fedsim.build.components import build_components
from fedsim.build.without_effect import warn_of_settings_without_effect
from fedsim.config.run import parse_config
from fedsim.data import Splits
from fedsim.data.sources import DataSource
from fedsim.errors import ConfigError, FedsimWarning
from support.configuration import configured


def message(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        build_components(configured(*overrides))
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("attak.name=alie", ["attak", "alie", "'attack'"]),
        ("rounds=-1", ["rounds", "-1"]),
        ("rounds=2.5", ["rounds", "2.5", "integer"]),
        ("rounds=true", ["rounds", "True", "integer"]),
        ("runtime.nonfinite=dorp", ["runtime.nonfinite", "dorp", "'drop'"]),
        ("runtime.timeout=.nan", ["runtime.timeout", "nan"]),
        ("clients.batchsize=3", ["clients.batchsize", "'batch_size'"]),
        ("clients=3", ["clients", "3"]),
        ("aggregator.sparsity=1.5", ["aggregator.sparsity", "1.5", "less than 1"]),
        ("aggregator.sparsiti=0.5", ["aggregator.sparsiti", "'sparsity'"]),
        ("aggregator.name=fedsecca", ["aggregator.name", "fedsecca", "'fedseca'"]),
        ("aggregator.pre=[{name: nnn}]", ["aggregator.pre.0.name", "nnn"]),
        ("attack.name=fnag", ["attack.name", "'fang'"]),
        ("attack.z=1", ["attack.z", "strength"]),
        ("attack.num_byzantine=4", ["attack.num_byzantine", "4", "8", "allow_byzantine_majority"]),
        ("attack.num_byzantine=9", ["attack.num_byzantine", "9"]),
        ("attack.component_settings={strength: 3}", ["attack.component_settings"]),
        ("seed=010", ["seed", "'010'"]),
        ("seed=1:30", ["seed", "'1:30'"]),
        ("clients.optimizer.lr=.nan", ["clients.optimizer.lr", "nan"]),
        ("clients.optimizer={name: adam, betas: [0.9]}", ["clients.optimizer", "adam"]),
        ("clients.optimizer.name=muon", ["clients.optimizer", "muon"]),
        ("runtime.matmul=bfloat16", ["runtime.matmul", "bfloat16", "highest", "tf32"]),
        ("runtime.compile_mode=max-autotune", ["runtime.compile_mode", "max-autotune", "reduce-overhead"]),
        ("clients.batch_size=99999999999999999999", ["clients.batch_size"]),
        ("attack.clients=[1, 1, 2]", ["attack.clients", "[1, 1, 2]"]),
        ("data.name=mnist5", ["data.name", "'mnist5k'"]),
        ("data.partition.alpha=0", ["data.partition.alpha", "greater than 0"]),
        ("model.name=cnn", ["model.name", "small_cnn"]),
        ("clients.optimizer.name=sdg", ["clients.optimizer.name", "'sgd'"]),
        ("clients.optimizer.lrr=1", ["clients.optimizer.lrr", "'lr'"]),
        ("clients.optimizer.lr=-1", ["clients.optimizer", "-1"]),
        ("clients.send=gradient", ["clients.send", "local_steps"]),
        ("run_name=../x", ["run_name", "../x"]),
        ("seed", ["seed", "dotted.key=value"]),
        ("rounds=!!python/object/apply:os.getcwd []", ["rounds=", "python/object"]),
        ("attack={name: fang", ["attack=", "line 1"]),
    ],
)
def test_a_mistake_is_named_with_key_and_remedy(override: str, says: list[str]) -> None:
    text = message(override)
    assert all(word in text for word in says), text
    assert "\n" not in text


def test_graphs_that_torch_gets_wrong_are_refused() -> None:
    graphs = ["runtime.compile=true", "runtime.compile_mode=reduce-overhead"]
    assert message(*graphs, "clients.micro_batches=2").startswith("runtime.compile_mode: ")
    build_components(configured(*graphs))
    build_components(configured(graphs[1], "clients.micro_batches=2"))  # nothing is compiled


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"matmul": "tf32", "device": "cpu"}, "runtime.matmul: tf32 has no effect on a CPU"),
        (
            {"compile_mode": "reduce-overhead"},
            "runtime.compile_mode: reduce-overhead has no effect without runtime",
        ),
        (
            {"compile": True, "compile_mode": "reduce-overhead", "device": "cpu"},
            "runtime.compile_mode: reduce-overhead has no effect on a CPU",
        ),
    ],
)
def test_settings_of_a_gpus_speed_warn_where_they_do_nothing(overrides: dict[str, object], words: str) -> None:
    values = {"runtime": overrides}
    with pytest.warns(FedsimWarning, match=words):
        warn_of_settings_without_effect(build_components(parse_config(values)), values)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.placement=device", "runtime.device=cpu"], "data.placement: device has no effect on a CPU"),
        (["clients.vectorize=4", "clients.fraction=0.1"], "clients.vectorize: 4 has no effect with one client"),
    ],
)
def test_other_settings_of_speed_warn_where_they_do_nothing(overrides: list[str], words: str) -> None:
    with pytest.warns(FedsimWarning, match=words):
        warn_of_settings_without_effect(build_components(configured(*overrides)), {})


@pytest.mark.parametrize("overrides", [{"matmul": "tf32", "device": "cuda"}, {"matmul": "highest", "device": "cpu"}])
def test_settings_of_a_gpus_speed_do_not_warn_where_they_do_something(overrides: dict[str, object]) -> None:
    values = {"runtime": overrides}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_settings_without_effect(build_components(parse_config(values)), values)


def test_a_trimmed_mean_that_trims_everything_is_refused() -> None:
    assert "aggregator.num_byzantine: 4" in message("aggregator.name=cwtm", "aggregator.num_byzantine=4")


def test_oracle_becomes_the_true_number() -> None:
    components = build_components(
        configured("aggregator.name=cwtm", "aggregator.num_byzantine=oracle", "attack.num_byzantine=2")
    )
    assert components.defence.aggregator.settings.num_byzantine == 2


def test_a_missing_data_folder_is_named_and_one_without_effect_warns(tmp_path: Path) -> None:
    class Photos(DataSource):
        name, reads_root = "photos", True

        def load(self, root: Path | None) -> Splits:
            raise AssertionError

    Photos().check(tmp_path)
    for root in (None, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"root: .*photos"):
            Photos().check(root)
    with pytest.warns(FedsimWarning, match=r"data\.root has no effect"):
        build_components(configured(f"data.root={tmp_path}"))


def test_pre_aggregators_are_checked_and_stored_with_their_settings() -> None:
    components = build_components(configured("aggregator.name=cwtm", "aggregator.pre=[{name: nnm}, {name: arc}]"))
    assert [pre.name for pre in components.defence.pre] == ["nnm", "arc"]
    stored = [{"name": "nnm", "num_byzantine": None}, {"name": "arc", "num_byzantine": None}]
    assert components.resolved()["aggregator"]["pre"] == stored
    with pytest.raises(ConfigError, match=r"aggregator.pre.0.num_byzantine: 4 is too many for 8 clients under nnm"):
        build_components(configured("aggregator.pre=[{name: nnm, num_byzantine: 4}]"))
    with pytest.raises(ConfigError, match=r"aggregator.pre.1.name: .*did you mean 'nnm'"):
        build_components(configured("aggregator.pre=[{name: arc}, {name: nmm}]"))


def warnings_of(*overrides: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FedsimWarning)
        build_components(configured(*overrides))
    return [str(warning.message) for warning in caught]


def test_an_f_that_fits_the_clients_but_not_their_buckets_warns() -> None:
    said = warnings_of("aggregator.name=cwtm", "aggregator.num_byzantine=3", "aggregator.pre=[{name: bucketing}]")
    assert len(said) == 2
    assert said[0].startswith("aggregator.num_byzantine: 3 is too many for 4 clients")
    assert "8 clients come as 4 rows" in said[0]
    assert said[1].endswith("the run has 3 Byzantine clients, but cwtm defends against 1")


TOLERANT = [name for name, about in available_aggregators().items() if "num_byzantine" in about.settings]


@pytest.mark.parametrize("name", TOLERANT)
def test_one_warning_says_both_numbers_where_f_is_below_the_number_of_byzantine_clients(name: str) -> None:
    """Given or by default, and for a changing set of them too; not where f suffices, and not without an attack."""
    expected = f"aggregator.num_byzantine: the run has 3 Byzantine clients, but {name} defends against "
    assert warnings_of(f"aggregator.name={name}", "aggregator.num_byzantine=1") == [f"{expected}1"]
    by_default = {"krum": 2, "multi_krum": 2, "bulyan": 1}.get(name)
    assert warnings_of(f"aggregator.name={name}") == ([f"{expected}{by_default}"] if by_default else [])
    assert warnings_of(f"aggregator.name={name}", "clients.count=15") == []
    assert not any("defends" in text for text in warnings_of(f"aggregator.name={name}", "attack.name=none"))


def test_pre_aggregators_are_warned_of_in_the_same_sentence() -> None:
    said = warnings_of(
        "aggregator.name=cwtm", "aggregator.num_byzantine=2", "aggregator.pre=[{name: arc, num_byzantine: 1}]"
    )
    defend = "arc defends against 1 and cwtm defends against 2"
    assert said == [f"aggregator.num_byzantine: the run has 3 Byzantine clients, but {defend}"]
