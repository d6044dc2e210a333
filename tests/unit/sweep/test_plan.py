"""From a sweep's file to its cells."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model
from pydantic.fields import FieldInfo

from fedsim.config.run import RunConfig, RuntimeSection
from fedsim.config.source import read_yaml
from fedsim.data.sources.cifar import Cifar10
from fedsim.data.sources.eurosat import EuroSat
from fedsim.data.sources.fed_isic2019 import FedIsic2019
from fedsim.data.sources.image_folder import ImageFolder
from fedsim.errors import ConfigError
from fedsim.results_version import RESULTS_VERSION
from fedsim.sweep import plan
from fedsim.sweep.axes import labelled
from fedsim.sweep.plan import read_sweep
from fedsim.sweep.runner import keep_config
from fedsim.yaml_text import yaml_text
from support.launch import ROOT
from support.sweeps import AXES, sweep_file


def test_cells_are_the_product_of_the_axes_in_their_order(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, axes=AXES))
    labels = [tuple(cell.labels.values()) for cell in sweep.cells]
    assert labels == [
        (attack, aggregator, seed)
        for attack in ("none", "fang target=krum")
        for aggregator in ("cwtm", "krum")
        for seed in ("0", "1")
    ]
    last = sweep.cells[-1].config
    assert (last["attack"]["name"], last["attack"]["target"], last["seed"]) == ("fang", "krum", 1)
    assert last["attack"]["num_byzantine"] == 3  # of the base
    assert last["aggregator"]["name"] == "krum"
    assert str(sweep.cells[-1].directory).startswith("runs/grid/fang_target=krum/krum/seed1-")


def test_without_a_base_cells_start_from_the_quickstart(tmp_path: Path) -> None:
    with_base = read_sweep(sweep_file(tmp_path, axes=AXES))
    (tmp_path / "grid.yaml").write_text(yaml_text({"axes": AXES}))
    assert read_sweep(tmp_path / "grid.yaml") == with_base


def test_a_cell_is_known_by_what_decides_about_its_results(tmp_path: Path) -> None:
    def marks(*overrides: str, **content: object) -> list[str]:
        return [cell.config_hash for cell in read_sweep(sweep_file(tmp_path, axes=AXES, **content), overrides).cells]

    plain = marks()
    assert len(set(plain)) == 8
    assert marks("output_dir=elsewhere", "checkpoint.every=1", "runtime.timeout=9") == plain
    assert marks("rounds=21", "server.sharded=true", "runtime.compile_kernels=true") == plain
    assert not set(marks("clients.local_epochs=3")) & set(plain)
    edited = marks(overrides=[{"where": {"aggregator": "krum", "seed": [1]}, "set": {"clients.momentum": 0.5}}])
    assert [one == other for one, other in zip(plain, edited, strict=True)] == [True, True, True, False] * 2


@pytest.mark.parametrize(
    "axes",
    [{"rounds": [2, 5]}, {"length": {"short": {"rounds": 2}, "long": {"rounds": 5}}, "seed": [0, 1]}],
)
def test_rounds_make_another_cell_where_an_axis_sets_them(tmp_path: Path, axes: dict[str, Any]) -> None:
    both = read_sweep(sweep_file(tmp_path, axes=axes)).cells
    assert len({cell.config_hash for cell in both}) == len({cell.directory for cell in both}) == len(both)
    key, label = ("rounds", "5") if "rounds" in axes else ("length", "long")
    some = read_sweep(sweep_file(tmp_path, axes=axes), only=[f"{key}={label}"]).cells  # it makes no difference
    assert [cell.config_hash for cell in some] == [cell.config_hash for cell in both if cell.labels[key] == label]


def test_rounds_that_bring_more_attackers_make_another_cell_of_a_rule_that_knows_them(tmp_path: Path) -> None:
    attack = {"name": "ipm", "num_byzantine": 3, "first_round": 15}
    cells = {}
    for rounds in (10, 14, 20):
        settings = {"attack": attack, "aggregator.num_byzantine": "oracle", "rounds": rounds}
        path = sweep_file(tmp_path, axes={"aggregator": ["krum"]}, set=settings)
        (cells[rounds],) = read_sweep(path).cells
    assert [cells[rounds].config["aggregator"]["num_byzantine"] for rounds in cells] == [0, 0, 3]
    assert cells[10].config_hash == cells[14].config_hash != cells[20].config_hash


def test_defaults_are_no_part_of_a_hash_but_the_version_of_results_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marks(**settings: object) -> list[str]:
        path = sweep_file(tmp_path, axes={"aggregator": ["krum", "cwmed"]}, set=settings)
        return [cell.config_hash for cell in read_sweep(path).cells]

    plain = marks()
    assert marks(**{"clients.proximal": 0.0, "runtime.amp": "none", "server.optimizer.lr": 1.0}) == plain
    assert marks(**{"data.placement": "host"}) == plain  # results do not depend on it
    newer = create_model("RuntimeSection", __base__=RuntimeSection, brand_new=(bool, False))
    section = FieldInfo(annotation=newer, default_factory=newer)
    monkeypatch.setitem(RunConfig.__pydantic_fields__, "runtime", section)
    RunConfig.model_rebuild(force=True)
    try:
        assert "brand_new" in read_sweep(sweep_file(tmp_path, axes={"seed": [0]})).cells[0].config["runtime"]
        assert marks() == plain
        assert not set(marks(**{"runtime.brand_new": True})) & set(plain)
    finally:
        monkeypatch.undo()
        RunConfig.model_rebuild(force=True)
    monkeypatch.setattr(plan, "RESULTS_VERSION", RESULTS_VERSION + 1)
    assert not set(marks()) & set(plain)


def test_any_text_of_an_axis_comes_to_its_cells(tmp_path: Path) -> None:
    texts = ["1e3", "0123", "010", "no", "2024-02-30", "1:30", "😀 é", "a: b", "a\nb", "~"]
    sweep = read_sweep(sweep_file(tmp_path, axes={"data.root": texts}))
    assert [cell.config["data"]["root"] for cell in sweep.cells] == texts
    for cell in sweep.cells:
        assert read_yaml(keep_config(sweep, cell)) == cell.config


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    axes = {"size": {4: {"clients.count": 4, "attack.num_byzantine": 1}, 9: {"clients.count": 9}}}
    assert [cell.labels["size"] for cell in read_sweep(sweep_file(tmp_path, axes=axes)).cells] == ["4", "9"]


def test_exclusions_leave_cells_out(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, axes=AXES, exclude=[{"attack": "none", "seed": 1}]))
    assert len(sweep.cells) == 6
    assert not [cell for cell in sweep.cells if cell.labels["attack"] == "none" and cell.labels["seed"] == "1"]


def test_only_keeps_labels_by_their_first_word(tmp_path: Path) -> None:
    path = sweep_file(tmp_path, axes=AXES)
    sweep = read_sweep(path, only=["attack=fang", "seed=1,0"])
    assert {cell.labels["attack"] for cell in sweep.cells} == {"fang target=krum"}
    assert len(sweep.cells) == 4
    assert list(sweep.axes["seed"]) == ["0", "1"]


def test_only_takes_a_word_that_is_a_label_itself_as_that_label(tmp_path: Path) -> None:
    variants = {"fang": "fang", "fang on krum": {"name": "fang", "target": "krum"}}
    path = sweep_file(tmp_path, axes={**AXES, "attack": variants})
    assert {cell.labels["attack"] for cell in read_sweep(path, only=["attack=fang"]).cells} == {"fang"}


def test_only_given_twice_for_an_axis_keeps_both_labels(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--only: no cell has seed=; write axis=label,label"):
        read_sweep(sweep_file(tmp_path, axes=AXES), only=["seed="])
    once = read_sweep(sweep_file(tmp_path, axes=AXES), only=["attack=none,fang", "seed=0"]).cells
    twice = read_sweep(sweep_file(tmp_path, axes=AXES), only=["attack=none", "seed=0", "attack=fang"]).cells
    assert [cell.labels for cell in twice] == [cell.labels for cell in once]
    assert {cell.labels["attack"] for cell in twice} == {"none", "fang target=krum"}


@pytest.mark.parametrize("written", ["3e-5", "0.00003", "3E-05"])
def test_only_takes_a_number_as_it_may_be_written(tmp_path: Path, written: str) -> None:
    path = sweep_file(tmp_path, axes={**AXES, "clients.optimizer.lr": [3e-5, 1]})
    cells = read_sweep(path, only=[f"clients.optimizer.lr={written}"]).cells
    assert {cell.labels["clients.optimizer.lr"] for cell in cells} == {"3e-05"}


def test_only_names_a_number_that_is_not_there_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'7' is not on it"):
        read_sweep(sweep_file(tmp_path, axes=AXES), only=["seed=7"])


def test_an_axis_of_any_name_sets_dotted_keys(tmp_path: Path) -> None:
    axes = {
        "size": {"few": {"clients.count": 5, "attack.num_byzantine": 1}, "many": {"clients.count": 9}},
        "rounds": [2],
    }
    one, other = read_sweep(sweep_file(tmp_path, axes=axes)).cells
    assert (one.config["clients"]["count"], one.config["attack"]["num_byzantine"]) == (5, 1)
    assert (other.config["clients"]["count"], other.config["attack"]["num_byzantine"]) == (9, 3)
    assert one.config["rounds"] == 2
    assert one.directory.name == f"sizefew-rounds2-{one.config_hash}"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            {"axes": {"attack": ["fagn"]}},
            "cell attack=fagn: attack.name: unknown attack 'fagn'; did you mean",
        ),
        ({"axes": {"atack": ["fang"]}}, r"cell atack=fang: atack: unknown key"),
        ({"axes": {"seed": []}}, "axes.seed: no values"),
        (
            {"axes": {"data.root": [1999], "seed": [3]}},
            r'axes.data.root, cell data.root=1999, seed=3: data.root: 1999 is not .* quotes, root: "1999"',
        ),
        ({"axes": {"model": [{"name": 7}]}}, r'axes.model, cell .*: model.name: 7 is not .* quotes, name: "7"'),
        ({"axes": {"data.root": [True]}}, r'cell data.root=true: data.root: True is not .* quotes, root: "..."'),
        ({"axes": {"aggregator": [False]}}, "axes.aggregator, cell .*no, on and off are true and false in YAML"),
        ({"axes": {"seed": [0]}, "name": 12}, r'name: 12 is not .* quotes, name: "12"'),
        ({"axes": {1999: [0]}}, r'axes.1999: 1999 is not .* quotes, "1999"'),
        ({"axes": {"seed": [0, 0]}}, "axes.seed: '0' is there twice"),
        ({"axes": {"attack": ["fang", {"name": "fang", "num_byzantine": 3}]}}, "have the same configuration"),
        ({"axes": AXES, "exclude": [{"atack": "none"}]}, "exclude.0.atack: no such axis; did you mean 'attack'"),
        (
            {"axes": AXES, "exclude": [{"attack": "nine"}]},
            "exclude.0.attack: 'nine' is not on it; did you",
        ),
        (
            {"axes": AXES, "overrides": [{"where": {"seed": 7}, "set": {}}]},
            "overrides.0.where.seed: '7' is not",
        ),
        ({"axes": AXES, "exclude": [{}]}, "no cell is left"),
        ({"axes": AXES, "sets": {}}, "sets: unknown key"),
        ({"axes": AXES, "set": {"rounds": -1}}, "cell attack=none, aggregator=cwtm, seed=0: rounds: -1"),
    ],
)
def test_a_mistake_is_reported_with_its_file_before_anything_runs(
    tmp_path: Path, content: dict[str, object], says: str
) -> None:
    path = sweep_file(tmp_path, **content)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        read_sweep(path)
    assert re.search(says, str(caught.value)), str(caught.value)


SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_sweeps_that_come_with_fedsim_are_valid_where_their_data_are(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every label of every axis, beside the first ones of the others."""
    for source in (Cifar10, EuroSat, FedIsic2019, ImageFolder):
        monkeypatch.setattr(source, "check", lambda self, root: None)
    axes = {axis: [*labelled(axis, values)] for axis, values in read_yaml(path)["axes"].items()}
    for axis, labels in axes.items():
        only = [f"{other}={first}" for other, (first, *_) in axes.items() if other != axis]
        assert [cell.labels[axis] for cell in read_sweep(path, only=only).cells] == labels


@pytest.mark.parametrize("name", ["cifar10", "eurosat", "fed_isic2019"])
def test_the_papers_table_has_all_its_cells(name: str) -> None:
    for sweep, columns in ((f"paper_{name}", 8), (f"revised_{name}", 9)):
        axes = read_yaml(ROOT / "configs" / "sweeps" / f"{sweep}.yaml")["axes"]
        assert [len(axes[axis]) for axis in ("attack", "aggregator", "seed")] == [columns, 12, 3]


@pytest.mark.parametrize("name", ["cifar10", "eurosat", "fed_isic2019"])
def test_the_papers_sweeps_have_the_settings_that_its_authors_released(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in (Cifar10, EuroSat, FedIsic2019):
        monkeypatch.setattr(source, "check", lambda self, root: None)
    cells = read_sweep(ROOT / "configs" / "sweeps" / f"paper_{name}.yaml", only=["seed=0"]).cells
    by_label = {(cell.labels["attack"], cell.labels["aggregator"]): cell.config for cell in cells}
    assert all(config["server"]["buffers"] == "in_row" for config in by_label.values())

    def of(section: str, attack: str, aggregator: str) -> dict[str, object]:
        return {key: value for key, value in by_label[attack, aggregator][section].items() if value is not None}

    column = of("attack", "MinMax", "fedavg")
    assert {"name": "agr_tailored", "search": "released", "direction": "unit"}.items() <= column.items()
    assert {"name": "scaling", "of": "weights", "factor": 10.0}.items() <= of("attack", "scaling", "krum").items()
    assert {"name": "krum", "num_byzantine": 2}.items() <= of("aggregator", "alie", "krum").items()
    assert {"name": "cwtm", "num_byzantine": 1}.items() <= of("aggregator", "alie", "cwtm").items()
    assert of("aggregator", "ipm", "ties")["election"] == "magnitude"
    fedseca = of("aggregator", "ipm", "fedseca")
    assert {"sparsity": 0.9, "momentum": 0.5, "variant": "released_code"}.items() <= fedseca.items()
