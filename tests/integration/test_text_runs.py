"""Runs on text: characters are learnt."""

import json
from pathlib import Path

import pytest

from fedsim.data.sources import sources
from fedsim.main import main
from support.texts import write_play

LENGTH = 12
COMMON = [
    "clients={count: 3, batch_size: 4, local_epochs: 1, optimizer: {name: adam, lr: 0.02}}",
    "tracking.tensorboard=false",
    "run_name=run",
]
LSTM = "model={name: lstm, hidden: 24, layers: 1}"
TRANSFORMER = "model={name: transformer, width: 16, heads: 2, layers: 1}"


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half of the characters follow from the ones before, and no character is every fifth."""
    return write_play(tmp_path_factory.mktemp("play"), 900).parent


def data(play: Path, *, per_token: bool) -> str:
    how = "per_token: true" if per_token else "stride: 6"
    return f"data={{name: shakespeare, root: {play}, length: {LENGTH}, {how}, partition: {{name: natural}}}}"


@pytest.mark.parametrize(("model", "per_token"), [(TRANSFORMER, True), (LSTM, False)])
def test_a_run_learns_which_character_comes_next(model: str, per_token: bool, play: Path, tmp_path: Path) -> None:
    honest = ["attack=[]", "aggregator={name: fedavg}", "rounds=5", f"output_dir={tmp_path}"]
    assert main([*COMMON, *honest, data(play, per_token=per_token), model]) == 0
    accuracy = json.loads((tmp_path / "run" / "summary.json").read_text())["final_accuracy"]
    most_frequent = sources.build("shakespeare", length=LENGTH, per_token=per_token).load(play).test.labels.flatten()
    assert accuracy > 1.5 * float(most_frequent.bincount().max()) / len(most_frequent)
