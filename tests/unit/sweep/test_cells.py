"""The states of cells."""

import fcntl

from fedsim.sweep.cells import note_failure, progress_of
from fedsim.sweep.plan import Sweep
from support.sweeps import leave


def states(sweep: Sweep) -> list[str]:
    return [progress_of(cell, sweep.folder).state for cell in sweep.cells]


def test_the_state_of_a_cell_is_what_its_run_has_left(sweep: Sweep) -> None:
    leave(sweep, 0, "completed", 0.5, 0.9)
    leave(sweep, 1, "failed", 0.5, reason="rank 1 died")
    leave(sweep, 2, "diverged", 0.1)
    leave(sweep, 3, "interrupted", 0.5)
    leave(sweep, 4, None, 0.5)  # killed
    leave(sweep, 5, None, None)
    note_failure(sweep.cells[6], sweep.folder, "configuration error: no data")
    with (sweep.cells[5].directory / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert states(sweep) == ["done", "failed", "diverged", "stopped", "stopped", "running", "failed", "pending"]
    assert states(sweep)[5] == "stopped"
    remarks = [progress_of(cell, sweep.folder).remark for cell in sweep.cells]
    assert remarks[0] == "accuracy 0.900 after round 2 of 2"
    assert remarks[1] == "rank 1 died"
    assert remarks[6] == "configuration error: no data"
    note_failure(sweep.cells[6], sweep.folder, "")
    assert states(sweep)[6] == "pending"
