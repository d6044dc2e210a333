"""`python -m fedsim.benchmark`."""

import json
from pathlib import Path

import pytest
import torch

from fedsim.aggregators import available_aggregators
from fedsim.attacks import available_attacks
from fedsim.benchmark.__main__ import main
from fedsim.benchmark.measure import Reading
from fedsim.benchmark.report import columns
from fedsim.benchmark.scaling_page import PHASES


@pytest.mark.parametrize("kind", ["aggregators", "attacks"])
def test_command_leaves_table_json_and_picture(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.json", tmp_path / "a.png"]
    status = main([kind, "--columns", "3_000", "--repeats", "2", "--json", str(files[0]), "--png", str(files[1])])
    assert status == 0
    stored = json.loads(files[0].read_text())
    methods = available_aggregators() if kind == "aggregators" else available_attacks()
    names = {*methods, "(read)", "(copy into warm memory)", "(clone)"}
    assert {reading["name"] for reading in stored["readings"]} == names
    assert all(
        reading["ratio"] > 0 and len(reading["seconds"]) == len(reading["cpu_seconds"]) == 2
        for reading in stored["readings"]
    )
    assert stored["command"].startswith(f"python -m fedsim.benchmark {kind} --columns 3_000")
    assert files[1].read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert stored["machine"]["words"] in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attacks", "--clients", "3", "--byzantine", "3"], "--byzantine: 3 of 3 clients"),
        (["round", "rounds=-1"], "rounds: -1 is not allowed"),
        (["aggregators", "--device", "cuda"], "no GPU is visible"),
        (["aggregators", "--png", "x.txt"], "--png: x.txt does not end in .png"),
        (["aggregators", "--json", "/nonexistent/x.json"], "--json: there is no folder /nonexistent"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("row", ["cpu", "shared"])
def test_a_step_is_timed_by_its_parts_wherever_its_row_goes(row: str, tmp_path: Path) -> None:
    small = ["model.name=mlp", "clients.batch_size=4", "runtime.channels_last=true", "clients.optimizer.fused=true"]
    options = ["--steps", "3", "--repeats", "2", "--threads", "1", "--parts", "--row", row]
    assert main(["step", *options, *small, "--json", str(tmp_path / "step.json")]) == 0
    readings = {one["name"].strip(): one for one in json.loads((tmp_path / "step.json").read_text())["readings"]}
    assert readings.keys() == {"local step", "data", "forward and backward", "optimiser", "row"}
    assert all(len(one["seconds"]) == 2 and min(one["seconds"]) > 0 for one in readings.values())
    assert len({tuple(one["yardstick"]) for one in readings.values()}) == 1


def test_clients_at_once_are_timed_against_clients_in_turn(tmp_path: Path) -> None:
    small = ["clients.batch_size=2", "--models", "mlp", "--at-once", "1", "3", "--repeats", "1", "--threads", "1"]
    assert main(["vectorize", *small, "--json", str(tmp_path / "v.json")]) == 0
    readings = json.loads((tmp_path / "v.json").read_text())["readings"]
    assert [reading["name"] for reading in readings] == ["mlp, 1 at once", "mlp, 3 at once"]
    assert all(reading["ratio"] > 0 for reading in readings)


def test_inputs_measures_the_batch_and_each_augmentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    augment = "data.augment=[{name: flip}, {name: rotation}]"
    assert main(["inputs", "--side", "28", "--repeats", "1", "--json", str(tmp_path / "a.json"), augment]) == 0
    stored = json.loads((tmp_path / "a.json").read_text())
    assert [reading["name"] for reading in stored["readings"]] == ["a batch, host", "flip", "rotation"]
    assert all(reading["ratio"] > 0 for reading in stored["readings"])
    assert "inputs of small_cnn, 32 images of 1 x 28 x 28, on the cpu" in capsys.readouterr().out


def test_scaling_reports_each_phase_for_each_client(tmp_path: Path) -> None:
    few = ["--clients", "5", "10", "--names", "cwtm", "--repeats", "1", "evaluation.batch_size=500"]
    assert main(["scaling", *few, "--json", str(tmp_path / "s.json")]) == 0
    readings = json.loads((tmp_path / "s.json").read_text())["readings"]
    assert [reading["name"] for reading in readings] == ["cwtm, 5 clients", "cwtm, 10 clients"]
    for reading in readings:
        figures = reading["figures"]
        assert figures["clients"] in (5, 10)
        assert figures["D"] == 46_730
        of_phases = sum(figures[name] for name in PHASES if name in figures) * figures["clients"] / 1e3
        assert {"local_work", "attack", "aggregate", "record"} <= figures.keys()
        assert of_phases <= 1.05 * reading["cpu_seconds"][0] + 0.1  # the record is that of the round before


def test_docs_and_benchmark_show_the_same_table() -> None:
    """Readings of older versions, without CPU time, are shown beside new ones."""
    old = {"name": "a", "seconds": [0.2, 0.1, 0.4], "ratio": 2.0, "extra_bytes": None, "problem": ""}
    new = Reading("b", (0.3,), (0.1,), (0.6,), (0.1,), extra_bytes=200, figures={"accuracy": 0.5}).as_dict()
    failed = Reading("c", problem="it cannot").as_dict()
    heads, rows = columns("reads", 100, [new, old, failed])
    times = ["reads", "in CPU time", "median ms", "CPU ms", "min", "max"]
    assert heads == ["name", *times, "extra memory", "kept", "accuracy"]
    assert rows == [
        ["c", "it cannot"],
        ["a", "2.00", "-", "200.0", "-", "100.0", "400.0", "-", "0.00", "-"],
        ["b", "3.00", "6.00", "300.0", "600.0", "300.0", "300.0", "2.00", "0.00", "0.5"],
    ]


def test_several_ranks_measure_one_case_of_scaling_a_launch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scaling", "--ranks", "2", "--clients", "100", "1000", "--names", "cwtm"]) == 2
    assert "2 ranks measure one aggregator with one number of clients" in capsys.readouterr().err
