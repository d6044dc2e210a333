"""A recorded sweep, looked at from Python."""

import shutil
from pathlib import Path

import pytest

import fedsim
from fedsim.errors import ConfigError
from fedsim.sweep.cells import progress_of
from fedsim.sweep.plan import Sweep, read_sweep
from fedsim.sweep.tables import keep_results
from fedsim.yaml_text import yaml_text

SWEEP = """
base: base.yaml
axes:
  attack: [none, {name: alie, z: 1.0, num_byzantine: 1}]
  aggregator: [fedavg, cwmed]
  seed: [0, 1]
"""

BASE = """
rounds: 2
output_dir: {folder}
data: {{name: synthetic, shape: [4], num_train: 60, num_test: 40, partition: {{name: iid}}}}
model: {{name: mlp, hidden: []}}
clients: {{count: 3}}
tracking: {{tensorboard: false}}
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Seven of its eight cells have been run."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "base.yaml").write_text(BASE.format(folder=folder))
    (folder / "grid.yaml").write_text(SWEEP)
    found = read_sweep(folder / "grid.yaml")
    for cell in found.cells[:-1]:
        fedsim.run(cell.config, quiet=True)
    keep_results(found, [progress_of(cell, found.folder) for cell in found.cells])
    return found


def test_cells_are_a_data_frame(sweep: Sweep) -> None:
    result = fedsim.load_sweep(sweep.folder)
    assert result.axes == ["attack", "aggregator", "seed"]
    assert result.cells["state"].tolist() == ["done"] * 7 + ["pending"]
    assert "8 cells over attack, aggregator, seed: 7 done, 1 pending" in repr(result)


def test_rounds_of_all_cells_lie_in_one_frame(sweep: Sweep) -> None:
    result = fedsim.load_sweep(sweep.folder)
    assert len(result.metrics) == 7 * 2
    assert list(result.metrics.columns[:4]) == ["attack", "aggregator", "seed", "round"]
    means = result.metrics.query("round == 2").groupby(["aggregator", "attack"])["accuracy"].mean()
    cells = result.cells.query("state == 'done'").groupby(["aggregator", "attack"])["accuracy"].mean()
    assert means.to_dict() == cells.to_dict()
    assert set(result.clients.query("byzantine")["attack_name"]) == {"alie"}
    assert set(result.classes["class"]) == set(result.run_at(0).classes["class"])
    assert result.attacks["attack_name"].unique().tolist() == ["alie"]


def test_further_metrics_are_no_axes_and_later_rounds_than_the_sweep_has_do_not_count(tmp_path: Path) -> None:
    settings = {"evaluation.metrics": [{"name": "brier"}], "rounds": 3}
    (tmp_path / "base.yaml").write_text(BASE.format(folder=tmp_path))
    (tmp_path / "grid.yaml").write_text(yaml_text({"base": "base.yaml", "set": settings, "axes": {"seed": [0]}}))
    (cell,) = read_sweep(tmp_path / "grid.yaml").cells
    fedsim.run(cell.config, quiet=True)
    shorter = read_sweep(tmp_path / "grid.yaml", ["rounds=2"])
    keep_results(shorter, [progress_of(cell, shorter.folder) for cell in shorter.cells])
    result = fedsim.load_sweep(shorter.folder)
    assert result.axes == ["seed"]
    assert result.metrics["round"].tolist() == [1, 2]
    assert result.metrics["metrics.brier"].iloc[-1] == result.cells["metrics.brier"].iloc[0]
    assert result.metrics["accuracy"].iloc[-1] == result.cells["accuracy"].iloc[0]
    assert len(fedsim.load_run(result.directory(0)).metrics) == 3


def test_one_cell_is_found_by_its_labels(sweep: Sweep) -> None:
    result = fedsim.load_sweep(sweep.folder)
    run = result.run(attack="none", aggregator="cwmed", seed=1)
    assert (run.settings["seed"], run.settings["aggregator"]["name"]) == (1, "cwmed")
    whole = result.cells["attack"].iloc[-1]
    assert whole != "alie"  # the first word of this label
    assert (
        result.run(attack="alie", aggregator="cwmed", seed=0).directory
        == result.run(attack=whole, aggregator="cwmed", seed=0).directory
    )
    with pytest.raises(ConfigError, match="aggregator: no cell has 'cwmde'; did you mean 'cwmed'"):
        result.run(attack="none", aggregator="cwmde", seed=1)
    with pytest.raises(ConfigError, match="4 cells have attack=none"):
        result.run(attack="none")
    with pytest.raises(ConfigError, match="sead: no such axis; did you mean 'seed'"):
        result.run(sead=1)
    with pytest.raises(ConfigError, match="holds no run"):
        result.run(attack=result.cells["attack"].iloc[-1], aggregator="cwmed", seed=1)


def test_a_folder_may_be_moved(sweep: Sweep, tmp_path: Path) -> None:
    moved = shutil.copytree(sweep.folder, tmp_path / "elsewhere")
    directories = [run.directory for _, run in fedsim.load_sweep(moved).runs()]
    assert len(directories) == 7
    assert all(directory.is_relative_to(moved) for directory in directories)


def test_what_is_no_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*results\.json: No such file.*--status"):
        fedsim.load_sweep(tmp_path)
    for content in ("[1, 2]", "[]", '{"a": 1}', '[{"state": "done"}]'):
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(ConfigError, match=r"results\.json: it does not hold a record for each cell;"):
            fedsim.load_sweep(tmp_path)
