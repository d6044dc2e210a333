"""A sweep that is run in parts."""

import csv
from pathlib import Path

import pytest

from fedsim.errors import ConfigError
from fedsim.sweep.__main__ import main
from fedsim.sweep.cells import progress_of
from fedsim.sweep.parts import with_other_parts
from fedsim.sweep.plan import Sweep, read_sweep
from support.sweeps import AXES, leave, sweep_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return sweep_file(tmp_path, axes=AXES, set={"output_dir": str(tmp_path / "runs")})


def seed_0(path: Path) -> Sweep:
    return read_sweep(path, only=["seed=0"])


def labels(sweep: Sweep) -> list[str]:
    return list(map(str, sweep.cells))


def test_what_other_parts_have_run_stands_beside_the_part_in_the_order_of_the_whole(path: Path) -> None:
    whole, part = read_sweep(path), seed_0(path)
    leave(whole, 3, "completed", 0.9)
    leave(whole, 5, "diverged", 0.1)
    cells = [progress_of(cell, part.folder) for cell in part.cells]
    joined, found = with_other_parts(part, cells, lambda: whole)
    assert labels(joined) == [str(cell) for number, cell in enumerate(whole.cells) if number not in (1, 7)]
    assert [one.state for one in found] == ["pending", "pending", "done", "pending", "diverged", "pending"]
    assert joined.axes == whole.axes
    none, _ = with_other_parts(read_sweep(path, only=["attack=none", "seed=0"]), cells[:2], lambda: whole)
    assert labels(none) == [str(whole.cells[number]) for number in (0, 2, 3, 5)]


def test_what_was_not_run_has_no_row(path: Path) -> None:
    part = read_sweep(path, only=["aggregator=krum", "seed=1"])
    cells = [progress_of(cell, part.folder) for cell in part.cells]
    joined, found = with_other_parts(part, cells, lambda: read_sweep(path))
    assert (labels(joined), list(found)) == (labels(part), cells)
    assert joined.axes == {"attack": list(read_sweep(path).axes["attack"]), "aggregator": ["krum"], "seed": ["1"]}


def test_a_part_stands_alone_where_the_whole_is_wrong_or_was_edited(path: Path, tmp_path: Path) -> None:
    part = seed_0(path)
    cells = [progress_of(cell, part.folder) for cell in part.cells]

    def wrong() -> Sweep:
        raise ConfigError("axes", "a mistake", "")

    (tmp_path / "edited").mkdir()
    edited = sweep_file(
        tmp_path / "edited", axes=AXES, set={"output_dir": str(tmp_path / "runs"), "rounds": 3, "clients.count": 9}
    )
    for whole in (wrong, lambda: read_sweep(edited)):
        joined, found = with_other_parts(part, cells, whole)
        assert joined is part
        assert found is cells


def test_the_status_of_a_part_keeps_the_results_of_the_others(path: Path) -> None:
    whole = read_sweep(path)
    for number, cell in enumerate(whole.cells):
        if cell.labels["attack"] == "none":
            leave(whole, number, "completed", 0.5 + number / 100)
    for only in (["--only", "seed=0"], ["--only", "seed=1", "--only", "attack=none"]):
        main([str(path), "--status", *only])
        with (whole.folder / "results.csv").open(newline="") as content:
            rows = [(row["aggregator"], row["seed"], row["accuracy"]) for row in csv.DictReader(content)]
        done = [row for row in rows if row[2]]
        assert done == [("cwtm", "0", "0.5"), ("cwtm", "1", "0.51"), ("krum", "0", "0.52"), ("krum", "1", "0.53")]
        assert len(rows) == (6 if only == ["--only", "seed=0"] else 4)
