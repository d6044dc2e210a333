"""Every path that a user can write is expanded by one rule, and a mistake in it names where it stands."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from fedsim.main import main
from fedsim.prepare import main as prepare
from fedsim.sweep.__main__ import main as sweep
from support.runs import RUN, status

SMALL = ["data={{name: synthetic, num_train: 80, num_test: 20}}", "model={{name: mlp}}"]
PATHS = {
    "--config": ["--config", "{}/base.yaml", *SMALL],
    "--plugin": ["--plugin", "{}/plugin.py", *SMALL],
    "output_dir": ["output_dir={}/runs", *SMALL],
    "data.root": ["data={{name: image_folder, root: '{}/images'}}", "clients.count=2", "attack=[]"],
    "model.weights": [SMALL[0], "model={{name: timm, architecture: test_resnet, weights: '{}/weights.pt'}}"],
    "data.partition.path": [
        "data={{name: synthetic, num_train: 8, partition: {{name: file, path: '{}/partition.json'}}}}",
        "clients.count=4",
        "attack=[]",
    ],
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Path:
    """A folder with everything that can be named by a path."""
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NOWHERE", raising=False)
    (tmp_path / "base.yaml").write_text(f"rounds: 1\noutput_dir: {tmp_path}/runs\ntracking: {{tensorboard: false}}\n")
    (tmp_path / "plugin.py").touch()
    (tmp_path / "partition.json").write_text('{"clients": [[0, 1], [2, 3], [4, 5], [6, 7]]}')
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    for part in ("train", "test"):
        for kind in ("cat", "dog"):
            folder = tmp_path / "images" / part / kind
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8), (200, 9, 9) if kind == "cat" else (9, 9, 200)).save(folder / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("key", PATHS)
def test_variables_are_expanded(place: Path, key: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Other ways to write a path are tested in unit/test_files.py."""
    assert main(["--check", *(word.format("$PLACE") for word in PATHS[key])]) == 0, capfd.readouterr().err


@pytest.mark.parametrize("key", PATHS)
def test_an_undefined_variable_names_the_key(place: Path, key: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", *(word.format("$NOWHERE") for word in PATHS[key])]) == 2
    assert f"fedsim: configuration error: {key}: the variable $NOWHERE is not set" in capfd.readouterr().err


def test_a_run_is_recorded_and_resumed_there(place: Path) -> None:
    options = [*RUN, "output_dir=~/there", "tracking.tensorboard=false"]
    assert main([*options, "rounds=1"]) == 0
    assert main([*options, "rounds=2", "--resume"]) == 0
    assert status(place / "there") == "completed"
    assert sorted(path.name for path in (place / "there").iterdir()) == ["run"]


def test_a_sweep_expands_its_file_its_base_and_its_folder(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = "{data: {name: synthetic, num_train: 80, num_test: 20}, model: {name: mlp}, clients.count: 4}"
    (place / "grid.yaml").write_text(f"base: $PLACE/base.yaml\naxes: {{seed: [0]}}\nset: {data}\n")
    assert sweep(["$PLACE/grid.yaml", "output_dir=~/cost$$", "--jobs", "1", "--ranks", "1"]) == 0, capfd.readouterr()
    assert (place / "cost$" / "grid" / "results.csv").exists()
    (place / "grid.yaml").write_text("base: $NOWHERE/base.yaml\naxes: {seed: [0]}\n")
    assert sweep(["~/grid.yaml", "--dry-run"]) == 2
    assert "base: the variable $NOWHERE is not set" in capfd.readouterr().err


def test_what_prepares_data_expands_its_root(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert prepare(["image_folder", "--root", "~/images"]) == 0
    assert prepare(["image_folder", "--root", "$NOWHERE"]) == 2
    assert "--root: the variable $NOWHERE is not set" in capfd.readouterr().err
