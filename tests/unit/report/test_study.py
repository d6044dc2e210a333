"""Which runs a report is about, and what they are called."""

from pathlib import Path

import pytest

from fedsim.errors import ConfigError
from fedsim.report.scores import Score, score_table
from fedsim.report.study import read_study
from support.recorded_runs import recorded_run, recorded_sweep


def test_runs_by_themselves_are_called_by_what_differs(tmp_path: Path) -> None:
    for name, words in {
        "a": ["aggregator.name=cwtm", "aggregator.pre=[{name: nnm}]"],
        "b": ["aggregator.name=fedavg", "seed=1", "attack.name=alie", "attack.num_byzantine=2"],
        "c": ["aggregator.name=fedavg", "clients.count=4", "output_dir=elsewhere"],
    }.items():
        recorded_run(tmp_path / name, [0.5], words)
    study = read_study([tmp_path])
    assert study.axes == ["data", "clients.count", "attack", "aggregator", "seed"]
    assert [list(entry.labels.values()) for entry in study.entries] == [
        ["mnist5k", "8", "none", "cwtm + nnm", "0"],
        ["mnist5k", "8", "alie", "fedavg", "1"],
        ["mnist5k", "4", "none", "fedavg", "0"],
    ]


def test_runs_of_one_aggregator_that_differ_in_one_setting_are_the_rows(tmp_path: Path) -> None:
    for rate in ("0.1", "0.2"):
        recorded_run(tmp_path / rate, [0.5], [f"clients.optimizer.lr={rate}", "aggregator.momentum=0.9"])
    study = read_study([tmp_path])
    assert (study.rows_are, study.labels("aggregator")) == ("clients.optimizer.lr", ["0.1", "0.2"])


def test_a_component_at_its_default_is_called_by_its_name(tmp_path: Path) -> None:
    for momentum in ("0.0", "0.9"):
        recorded_run(tmp_path / momentum, [0.5], [f"aggregator.momentum={momentum}"])
    assert read_study([tmp_path]).labels("aggregator") == ["fedseca", "fedseca (momentum 0.9)"]


def test_runs_that_differ_in_who_attacks_only_are_told_apart(tmp_path: Path) -> None:
    for count in (2, 3):
        recorded_run(tmp_path / str(count), [0.5], ["attack.name=alie", f"attack.num_byzantine={count}"])
    study = read_study([tmp_path])
    assert study.labels("attack.num_byzantine") == ["2", "3"]
    recorded_run(tmp_path / "other", [0.5], ["attack.name=fang", "attack.num_byzantine=2"])
    assert "attack.num_byzantine" not in read_study([tmp_path / "3", tmp_path / "other"]).axes  # fang and alie say it


def test_of_a_run_that_was_repeated_the_last_one_that_is_done_counts(tmp_path: Path) -> None:
    for name, status in {"a": "completed", "a-2": "completed", "a-3": "failed"}.items():
        recorded_run(tmp_path / name, [0.5], status=status)
    recorded_run(tmp_path / "b", [0.5], ["seed=1"])
    assert [entry.state for entry in read_study([tmp_path]).entries] == ["repeated", "done", "failed", "done"]


def test_a_cell_whose_run_is_gone_is_missing(tmp_path: Path) -> None:
    cells = [
        {"attack": "none", "directory": "nowhere"},
        {"attack": "alie", "directory": "nowhere", "state": "failed"},
    ]
    assert [entry.state for entry in read_study([recorded_sweep(tmp_path, cells)]).entries] == ["missing", "failed"]


def test_sweeps_have_their_own_labels_and_cells_that_have_not_run(tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "grid" / "run", [0.5], ["aggregator.name=fedavg"])
    cells = [
        {"attack": "none", "aggregator": "plain", "seed": "0", "directory": str(run)},
        {"attack": "none", "aggregator": "plain", "seed": "1", "directory": "nowhere", "state": "pending"},
    ]
    study = read_study([recorded_sweep(tmp_path / "grid", cells)])
    assert [(entry.state, entry.run is not None) for entry in study.entries] == [("done", True), ("pending", False)]
    assert study.labels("aggregator") == ["plain"]
    assert study.axes == ["attack", "aggregator", "seed"]


def test_several_sweeps_become_an_axis(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run = recorded_run(tmp_path / name / "run", [0.5])
        recorded_sweep(tmp_path / name, [{"attack": "none", "directory": str(run)}])
    study = read_study([tmp_path])
    assert study.labels("sweep") == ["one", "two"]
    assert len(study.entries) == 2


def test_a_run_of_a_sweep_is_not_found_twice(tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "grid" / "run", [0.5])
    sweep = recorded_sweep(tmp_path / "grid", [{"attack": "none", "directory": str(run)}])
    recorded_run(tmp_path / "alone", [0.4])
    assert len(read_study([tmp_path]).entries) == 2
    assert len(read_study([sweep, sweep]).entries) == 1
    assert len(read_study([run]).entries) == 1


@pytest.mark.parametrize(
    ("status", "state"), [("completed", "done"), ("diverged", "diverged"), ("failed", "failed"), (None, "stopped")]
)
def test_states_are_those_of_sweeps(tmp_path: Path, status: str | None, state: str) -> None:
    (entry,) = read_study([recorded_run(tmp_path / "run", [0.5], status=status, reason="why")]).entries
    assert entry.state == state


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    recorded_run(tmp_path / "run", [0.5])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"DIRECTORY: .*empty holds neither a run nor a sweep"):
        read_study([tmp_path / "run", tmp_path / "empty"])


def test_sweeps_of_one_name_are_told_apart_by_what_is_above_them(tmp_path: Path) -> None:
    """They were one row of seeds of both."""
    for place in ("here", "there"):
        run = recorded_run(tmp_path / place / "grid" / "run", [0.5])
        recorded_sweep(tmp_path / place / "grid", [{"attack": "none", "directory": str(run)}])
    study = read_study([tmp_path / "here" / "grid", tmp_path / "there" / "grid"])
    assert study.labels("sweep") == ["here/grid", "there/grid"]


def test_a_run_that_ended_after_the_results_were_written_counts(tmp_path: Path) -> None:
    run = recorded_run(tmp_path / "grid" / "run", [0.5])
    cell = {"attack": "none", "directory": str(run), "state": "stopped"}
    assert [entry.state for entry in read_study([recorded_sweep(tmp_path / "grid", [cell])]).entries] == ["done"]


def test_a_run_that_has_lost_records_is_damaged_and_has_no_score(tmp_path: Path) -> None:
    """The round before the lost one was taken for the last."""
    folder = recorded_run(tmp_path / "run", [0.5, 0.9])
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text()[:-20])
    study = read_study([folder])
    assert [entry.state for entry in study.entries] == ["damaged"]
    assert score_table(study, Score())["score"].isna().all()
