"""On which machines the runs were made."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from fedsim.report.__main__ import main
from fedsim.report.environments import environment_table
from fedsim.report.study import read_study
from support.recorded_runs import recorded_run, recorded_sweep


def made_on(run: Path, **facts: Any) -> Path:
    (run / "environment.json").write_text(json.dumps(facts))
    return run


def test_runs_are_counted_by_what_made_them(tmp_path: Path) -> None:
    clean = {"versions": {"fedsim": "1", "torch": "2"}, "git": {"commit": "a" * 40, "dirty": False}, "ranks": 1}
    made_on(recorded_run(tmp_path / "a", [0.5]), **clean)
    made_on(recorded_run(tmp_path / "b", [0.5]), **{**clean, "git": {"commit": "a" * 40, "dirty": True}})
    made_on(recorded_run(tmp_path / "c", [0.5]), **clean)
    made_on(recorded_run(tmp_path / "d", [0.5], status=None), **clean)  # still runs: no seconds yet
    made_on(recorded_run(tmp_path / "e", [0.5]), versions="damaged")
    table = environment_table(read_study([tmp_path]).entries)
    assert table[["commit", "runs", "seconds"]].to_numpy().tolist() == [
        ["a" * 10, 3, 6],
        ["a" * 10 + " with changes", 1, 3],
        ["", 1, 3],
    ]
    assert table["torch"].tolist() == ["2", "2", "?"]
    assert table["ranks"].tolist() == ["1", "1", "?"]


def test_a_run_of_two_cells_counts_once(tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "run", [0.5])
    cells = [{"attack": attack, "directory": str(run)} for attack in ("none", "also none")]
    study = read_study([recorded_sweep(tmp_path, cells)])
    assert environment_table(study.entries)[["runs", "seconds"]].to_numpy().tolist() == [[1, 3]]


def test_it_is_written_beside_the_page_and_shown_in_it(tmp_path: Path) -> None:
    made_on(recorded_run(tmp_path / "run", [0.5]), device="<NVIDIA> | H100")
    assert main([str(tmp_path), "--to", str(tmp_path / "to")]) == 0
    table = pd.read_csv(tmp_path / "to" / "tables" / "environment.csv")
    assert table["device"].tolist() == ["<NVIDIA> | H100"]
    assert r"&lt;NVIDIA&gt; \| H100" in (tmp_path / "to" / "tables" / "environment.md").read_text()
    assert "&lt;NVIDIA&gt; | H100</td>" in (tmp_path / "to" / "report.html").read_text()


def test_a_sweep_that_has_not_begun_has_none(tmp_path: Path) -> None:
    sweep = recorded_sweep(tmp_path, [{"attack": "none", "directory": "nowhere", "state": "pending"}])
    assert main([str(sweep)]) == 0
    assert not (sweep / "report" / "tables" / "environment.csv").exists()
