"""A sweep with more rounds continues its cells: the same bits as a run of that many rounds from the start."""

from pathlib import Path

from fedsim.main import main
from fedsim.sweep.cells import progress_of
from fedsim.sweep.plan import Sweep, read_sweep
from fedsim.sweep.runner import keep_config
from support.runs import RUN, assert_same
from support.sweeps import sweep_file

SETTINGS = [word for word in RUN if not word.startswith(("run_name", "data"))]
DATA = "data={name: synthetic, num_train: 80, num_test: 20, num_classes: 4, shape: [1, 20, 20]}"
SCHEDULES = ["clients.schedule={name: cosine, over: 4}", "server.optimizer={name: adam, lr: 0.01}"]
METRICS = "evaluation.metrics=[{name: brier}, {name: honest_variance}]"


def sweep(folder: Path, rounds: int) -> Sweep:
    overrides = [*SETTINGS, DATA, *SCHEDULES, METRICS, f"rounds={rounds}", f"output_dir={folder}"]
    return read_sweep(sweep_file(folder, axes={"seed": [3]}), overrides)


def run(of: Sweep) -> None:
    """As the sweep does."""
    (cell,) = of.cells
    assert main(["--config", str(keep_config(of, cell)), "--resume-or-start", "tracking.tensorboard=false"]) == 0


def test_a_raised_number_of_rounds_continues_a_finished_cell(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "whole").mkdir()
    run(sweep(tmp_path / "parts", 2))
    longer = sweep(tmp_path / "parts", 5)
    (cell,) = longer.cells
    assert progress_of(cell, longer.folder).state == "stopped"
    run(longer)
    whole = sweep(tmp_path / "whole", 5)
    run(whole)
    for folder, of in (("a", longer), ("b", whole)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run").symlink_to(of.cells[0].directory)
    assert_same(tmp_path / "a", tmp_path / "b", rounds=5)
    done = [progress_of(of.cells[0], of.folder) for of in (longer, whole)]
    assert done[0].state == done[1].state == "done"
    assert done[0].metrics == done[1].metrics
    assert done[0].metrics.keys() == {"brier", "honest_variance"}
    shorter = sweep(tmp_path / "whole", 3)
    third = progress_of(shorter.cells[0], shorter.folder)
    (tmp_path / "three").mkdir()
    fresh = sweep(tmp_path / "three", 3)
    run(fresh)
    of_three = progress_of(fresh.cells[0], fresh.folder)
    assert (third.state, third.accuracy, third.metrics) == ("done", of_three.accuracy, of_three.metrics)
