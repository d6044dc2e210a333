"""The benchmark measures everything that is registered, in turn with its yardstick; no test depends on a time."""

import json
import sys
from pathlib import Path

import pytest
import torch

from fedsim.aggregators import available_aggregators
from fedsim.attacks import available_attacks
from fedsim.benchmark.__main__ import main
from fedsim.benchmark.matrix import MatrixCase, square_layers, time_aggregators
from fedsim.benchmark.measure import Reading, measure, peak_extra_bytes
from fedsim.benchmark.report import Report, table

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_work_and_yardstick_run_in_turn() -> None:
    calls: list[str] = []
    reading = measure("x", lambda: calls.append("work"), lambda: calls.append("stick"), 3, CPU)
    assert calls == ["work", "work", "stick"] + ["stick", "work"] * 3
    assert len(reading.seconds) == len(reading.yardstick) == 3


def test_work_that_raises_becomes_a_problem_not_the_end() -> None:
    reading = measure("x", lambda: 1 / 0, lambda: None, 3, CPU)
    assert reading.ratio is None
    assert "ZeroDivisionError" in reading.problem
    assert "ZeroDivisionError" in table(Report("t", "copies", "c", [reading]))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_sees_what_was_held_and_given_back() -> None:
    size = 64 << 20

    def work() -> None:
        torch.ones(size // 4) + torch.ones(size // 4)  # three tensors at once, none kept

    assert 2.9 * size < peak_extra_bytes(work, CPU) < 3.5 * size
    assert peak_extra_bytes(lambda: None, CPU) < size // 8


@pytest.mark.parametrize("columns", [1, 2, 5, 1024**2, 11_173_962])
def test_the_layout_covers_every_column(columns: int) -> None:
    assert square_layers(columns).size == columns


def test_every_aggregator_gets_rows_that_it_can_work_on() -> None:
    case = MatrixCase(clients=7, byzantine=0, columns=5000, device=CPU, repeats=1)
    readings = list(time_aggregators(case, available_aggregators()))
    assert [reading.name for reading in readings] == list(available_aggregators())
    assert [reading.problem for reading in readings] == [""] * len(readings)
    torch.testing.assert_close(case.rows(), case.rows(), rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["aggregators", "attacks"])
def test_command_leaves_table_json_and_picture(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "a.json", tmp_path / "a.png"]
    status = main([kind, "--columns", "3_000", "--repeats", "2", "--json", str(files[0]), "--png", str(files[1])])
    assert status == 0
    stored = json.loads(files[0].read_text())
    names = available_aggregators() if kind == "aggregators" else available_attacks()
    assert {reading["name"] for reading in stored["readings"]} == set(names)
    assert all(reading["ratio"] > 0 and len(reading["seconds"]) == 2 for reading in stored["readings"])
    assert stored["command"].startswith(f"python -m fedsim.benchmark {kind} --columns 3_000")
    assert files[1].read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert stored["machine"]["words"] in shown


def test_ratios_are_of_medians() -> None:
    assert Reading("a", seconds=(3.0, 1.0, 100.0), yardstick=(2.0, 1.0, 50.0)).ratio == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attacks", "--clients", "3", "--byzantine", "3"], "--byzantine: 3 of 3 clients"),
        (["round", "rounds=-1"], "rounds: -1 is not allowed"),
        (["aggregators", "--device", "cuda"], "no GPU is visible"),
    ],
)
def test_mistakes_are_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
