"""Names and labels become folders, entries of tables and lines on a terminal, and nothing else."""

from pathlib import Path

import pytest

from fedsim.errors import ConfigError
from fedsim.sweep.cells import note_failure, progress_of
from fedsim.sweep.plan import read_sweep
from fedsim.sweep.tables import markdown, status_lines
from support.sweeps import sweep_file

NONE = {"attack": {"name": "none"}}


@pytest.mark.parametrize("name", ["../out", "..", "/tmp/out", "a/b", "a\nb", "a\x1b[2J", "", ".hidden", "~"])
def test_a_sweep_has_a_name_that_is_a_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name: "):
        read_sweep(sweep_file(tmp_path, name=name, axes={"seed": [1]}, set=NONE))


@pytest.mark.parametrize("name", ["...yaml", "a\x1bb.yaml", ".grid.yaml"])
def test_the_name_of_a_file_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    path = sweep_file(tmp_path, axes={"seed": [1]}, set=NONE).rename(tmp_path / name)
    with pytest.raises(ConfigError, match="name: no folder of a sweep can be called"):
        read_sweep(path)


@pytest.mark.parametrize("label", ["two\nlines", "\x1b[31mred", "back\rwards", " ", "\u202eright to left", "bell\a"])
@pytest.mark.parametrize("as_axis", [False, True])
def test_labels_that_move_the_cursor_are_refused(tmp_path: Path, label: str, as_axis: bool) -> None:
    axes = {label: {"one": {"rounds": 3}}} if as_axis else {"size": {label: {"rounds": 3}}}
    with pytest.raises(ConfigError, match=r"is empty|has a control character") as caught:
        read_sweep(sweep_file(tmp_path, axes=axes, set=NONE))
    assert str(caught.value).isprintable()


def test_a_label_longer_than_a_folders_name_is_refused(tmp_path: Path) -> None:
    axes = {"size": {"é" * 130: {"rounds": 3}}}
    with pytest.raises(ConfigError, match=r"the labels make a folder's name of 2\d\d bytes"):
        read_sweep(sweep_file(tmp_path, axes=axes, set=NONE))


def test_no_label_breaks_a_table(tmp_path: Path) -> None:
    labels = ["a|b", "c\\|d", "../../e"]
    rules = {label: {"name": "krum", "num_byzantine": position} for position, label in enumerate(labels)}
    axes = {"aggregator": rules, "data.root": ["x|\x1b[1m\ny"]}
    sweep = read_sweep(sweep_file(tmp_path, axes=axes, set=NONE), [f"output_dir={tmp_path}/runs"])
    cells = [progress_of(cell, sweep.folder) for cell in sweep.cells]
    title, _, *rows = markdown(sweep, cells).splitlines()
    assert title == "**data.root x\\|\\\\x1b[1m\\\\ny**"
    assert [row.replace("\\\\", "").replace("\\|", "").count("|") for row in rows] == [4, 4, 4, 4, 4]
    for cell in sweep.cells:
        assert cell.directory.resolve().is_relative_to(sweep.folder)


def test_what_a_run_has_left_is_shown_in_a_line(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path, axes={"seed": [1]}, set=NONE), [f"output_dir={tmp_path}/runs"])
    note_failure(sweep.cells[0], sweep.folder, "one\ntwo\x1b[2J")
    lines = list(status_lines([progress_of(sweep.cells[0], sweep.folder)], None))
    assert lines[0] == "seed=1  failed    one\\ntwo\\x1b[2J"
