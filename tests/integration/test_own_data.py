"""What somebody types who brings arrays or a table: one command, and what it answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedsim.data.sources import sources
from fedsim.main import main
from support.own_data import blobs, write_csv, write_npy

pytestmark = pytest.mark.usefixtures("cache")

FEW = ["rounds=1", "clients.count=4", "attack.num_byzantine=1", "tracking.tensorboard=false"]


def test_arrays_train_and_the_default_model_says_what_to_type(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inputs, labels = blobs(80)
    mine = write_npy(tmp_path / "mine", X=inputs, y=labels)
    command = ["data.name=arrays", f"data.root={mine}", f"output_dir={tmp_path}", "run_name=run", *FEW]
    assert main([*command, "--check"]) == 2
    assert "set model.name=mlp" in capfd.readouterr().err
    assert main([*command, "data.normalize={mean: [0.5], std: [0.5]}", "--check"]) == 2
    assert "data.normalize: these data are no images" in capfd.readouterr().err
    assert main([*command, "model.name=mlp"]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert "accuracy" in capfd.readouterr().err


def test_clients_of_a_table_are_those_of_its_column(tmp_path: Path) -> None:
    inputs, labels = blobs(80)
    places = ["east", "north", "south", "west"]
    clients = [places[row % 7 % 4] for row in range(80)]
    columns: dict[str, Any] = {"a": inputs[:, 0], "b": inputs[:, 1], "client": clients, "class": labels}
    table = write_csv(tmp_path / "mine.csv", columns)
    sides = ["data.name=table", f"data.root={table}", "data.partition.name=natural", "model.name=mlp"]
    assert main([*sides, f"output_dir={tmp_path}", "run_name=run", *FEW]) == 0
    shares = json.loads((tmp_path / "run" / "partition.json").read_text())["clients"]
    train = sources.build("table").load(table).train
    assert [{train.columns["client"][sample] for sample in share} for share in shares] == [{one} for one in places]
