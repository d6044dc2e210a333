"""The paper's three experiments: on small data in the published formats, by overrides only, and whole models once."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fedsim.benchmark.__main__ import main as benchmark
from fedsim.main import main
from fedsim.records.summary import read_summary
from fedsim.run_directory.directory import write_yaml
from fedsim.sweep.plan import read_sweep
from support import presets
from support.data_sets import write_cifar10, write_eurosat, write_flamby_isic, write_image
from support.launch import ROOT

PRESETS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "cifar10_resnet18": (write_cifar10, ["data.resolution=32", "data.verify=false"]),
    "eurosat_deit_small": (write_eurosat, ["data.resolution=32", "model.pretrained=false"]),
    "fed_isic2019_convnext_nano": (write_flamby_isic, ["data.resize=32", "model.pretrained=false"]),
}


def write_pictures(root: Path) -> Path:
    """Two classes of pictures of 32 pixels, to train and to test."""
    for seed, (side, name, number) in enumerate(itertools.product(("train", "test"), ("cat", "dog"), range(20))):
        write_image(root / side / name / f"{number}.png", 32, 32, seed=seed)
    return root


SMALL: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "cifar10_small_resnet8": (write_pictures, []),
    "fed_isic_small_squeezenet": (write_flamby_isic, ["clients.count=6", "data.resize=48", "model.weights=null"]),
}
"""The same experiments for a laptop."""


def test_the_tests_of_batches_on_a_gpu_know_every_preset() -> None:
    assert sorted(presets.STORED) == presets.PRESETS


def config(name: str) -> list[str]:
    return ["--config", str(ROOT / "configs" / f"{name}.yaml")]


def test_every_config_that_needs_data_is_here() -> None:
    need = {path.stem for path in (ROOT / "configs").glob("*.yaml") if "fedsim.prepare" in path.read_text()}
    assert need == PRESETS.keys() | SMALL.keys()


SWEEPS = dict(zip(("cifar10", "eurosat", "fed_isic2019"), PRESETS, strict=True))
"""What a sweep is called after, and its preset."""
SMALL_MODEL = {
    "cifar10": ["model.architecture=test_resnet"],
    "eurosat": ["model.architecture=test_vit"],
    "fed_isic2019": ["model.architecture=test_convnext"],
}
"""Of the architectures' kinds, where the whole one takes a minute a cell: 38 tries of the defence a round."""
ROUNDS = ["rounds=2", "clients.batch_size=4", "clients.local_steps=1", "tracking.tensorboard=false"]


def small_data(tmp_path: Path, preset: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides that make a preset run on small data in the published format."""
    write, smaller = {**PRESETS, **SMALL}[preset]
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data"
    if not data.exists():
        data.mkdir()
        write(data)
    return [f"data.root={data}", *smaller]


def run_cells(
    tmp_path: Path, sweep: str, monkeypatch: pytest.MonkeyPatch, *only: str, more: Sequence[str] = ()
) -> list[str]:
    """The status of each chosen cell of a sweep, run on small data for two rounds."""
    preset = SWEEPS[sweep.partition("_")[2]]
    overrides = [*small_data(tmp_path, preset, monkeypatch), f"output_dir={tmp_path}", *ROUNDS, *more]
    ended = []
    for cell in read_sweep(ROOT / "configs" / "sweeps" / f"{sweep}.yaml", overrides, only).cells:
        config = tmp_path / f"{cell.config_hash}.yaml"
        write_yaml(config, cell.config)
        main(["--config", str(config)])
        ended.append(read_summary(cell.directory)["status"])
        for line in (cell.directory / "metrics.jsonl").read_text().splitlines():
            assert json.loads(line)["train_loss"] > 0
    return ended


@pytest.mark.filterwarnings("ignore::fedsim.errors.FedsimWarning")
@pytest.mark.parametrize("name", [*PRESETS, *SMALL])
def test_a_preset_is_valid_where_its_data_are(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*config(name), *small_data(tmp_path, name, monkeypatch), "--check"]) == 0


@pytest.mark.filterwarnings("ignore::fedsim.errors.FedsimWarning")
@pytest.mark.parametrize("name", list(SMALL))
def test_a_small_preset_runs(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*small_data(tmp_path, name, monkeypatch), f"output_dir={tmp_path}", *ROUNDS, "run_name=run"]
    assert main([*config(name), *words]) == 0


@pytest.mark.filterwarnings("ignore::fedsim.errors.FedsimWarning")
@pytest.mark.parametrize("name", list(SWEEPS))
def test_the_papers_table_as_released_runs_two_rounds_on_small_data(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for attack, aggregator in (("MinMax", "krum"), ("scaling", "fedseca")):
        only = [f"attack={attack}", f"aggregator={aggregator}", "seed=0"]
        ended = run_cells(tmp_path, f"paper_{name}", monkeypatch, *only, more=SMALL_MODEL[name])
        assert ended == ["completed"]
    assert "krum defends against up to 2 Byzantine clients" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.filterwarnings("ignore::fedsim.errors.FedsimWarning")
@pytest.mark.parametrize("name", list(SWEEPS))
@pytest.mark.parametrize("family", ["paper", "revised"])
def test_every_cell_of_the_papers_table_runs_two_rounds_on_small_data(
    tmp_path: Path, family: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run_cells(tmp_path, f"{family}_{name}", monkeypatch, "seed=0")
    assert ended == ["completed"] * len(ended)


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_whole_model_does_a_step_at_its_full_size(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--repeats", "1", "--threads", "1", "clients.batch_size=2", "--json", str(tmp_path / "step.json")]
    assert benchmark(["step", *config(name), *options]) == 0
    stored = json.loads((tmp_path / "step.json").read_text())
    side = 200 if "isic" in name else 224
    assert f"3 x {side} x {side}" in stored["title"]
    assert stored["readings"][0]["problem"] == ""


@pytest.mark.parametrize("name", ["eurosat_deit_small", "fed_isic2019_convnext_nano"])
def test_a_preset_without_network_says_so_at_once(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write, _ = PRESETS[name]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    (tmp_path / "data").mkdir()
    write(tmp_path / "data")
    assert main([*config(name), f"data.root={tmp_path / 'data'}", f"output_dir={tmp_path}"]) == 2
    err = capfd.readouterr().err
    assert "model.pretrained: the weights of" in err
    assert "model.weights" in err
