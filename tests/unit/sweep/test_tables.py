"""Tables of results, and what is left to do."""

import csv
import json
import math

from fedsim.sweep.cells import Progress, progress_of
from fedsim.sweep.plan import Sweep
from fedsim.sweep.tables import keep_results, markdown, seconds_left, status_lines
from support.sweeps import leave


def test_a_table_has_mean_deviation_and_the_worst_of_each_row(sweep: Sweep) -> None:
    for position, accuracy in enumerate([0.9, 0.8, 0.7, 0.7, 0.5, 0.1]):
        leave(sweep, position, "completed", 0.3, accuracy)
    leave(sweep, 6, "diverged", 0.1)
    cells = [progress_of(cell, sweep.folder) for cell in sweep.cells]
    spread = [math.sqrt(sum((value - sum(pair) / 2) ** 2 for value in pair)) for pair in ([0.9, 0.8], [0.5, 0.1])]
    assert markdown(sweep, cells).splitlines() == [
        "| aggregator | none | fang target=krum | worst |",
        "|---|---|---|---|",
        f"| cwtm | 0.850 ± {spread[0]:.3f} | 0.300 ± {spread[1]:.3f} | 0.300 ± {spread[1]:.3f} |",
        "| krum | 0.700 ± 0.000 | (1 diverged, 1 pending) | 0.700 ± 0.000 |",
    ]
    keep_results(sweep, cells)
    written = json.loads((sweep.folder / "results.json").read_text())
    assert [record["state"] for record in written] == [cell.state for cell in cells]
    assert (sweep.folder / "results.csv").read_text().count("\n") == 9


def test_results_have_a_column_for_each_further_metric_and_for_their_version(sweep: Sweep) -> None:
    for position, brier in enumerate([0.5, 0.25]):
        leave(sweep, position, "completed", 0.3, 0.9)
        directory = sweep.cells[position].directory
        metrics = {"brier": {"final": brier, "smallest": 0.125, "largest": 2.0}}
        summary = {"status": "completed", "rounds": 2, "final_accuracy": 0.9, "metrics": metrics}
        (directory / "summary.json").write_text(json.dumps(summary))
        (directory / "environment.json").write_text(json.dumps({"results_version": 3 + position}))
    keep_results(sweep, [progress_of(cell, sweep.folder) for cell in sweep.cells])
    with (sweep.folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["metrics.brier"] for row in rows] == ["0.5", "0.25"] + [""] * 6
    assert [row["results_version"] for row in rows] == ["3", "4"] + [""] * 6
    accuracy, title, table = (sweep.folder / "table.md").read_text().split("\n\n")
    assert accuracy == markdown(sweep, [progress_of(cell, sweep.folder) for cell in sweep.cells])
    assert title == "**brier**"
    deviation = math.sqrt(2 * 0.125**2)
    assert table.splitlines() == [
        "| aggregator | none | fang target=krum |",
        "|---|---|---|",
        f"| cwtm | 0.375 ± {deviation:.3f} | pending |",
        "| krum | pending | pending |",
    ]


def test_cells_that_are_left_are_counted_apart_from_those_that_are_done(sweep: Sweep) -> None:
    leave(sweep, 0, "completed", 0.5, 0.9)
    leave(sweep, 1, "completed", 0.5, 0.9)
    cells = [progress_of(cell, sweep.folder) for cell in sweep.cells]
    assert seconds_left(cells, jobs=3) == 10.0 * 6 / 3
    assert list(status_lines(cells, 75))[-1] == "8 cells: 2 done, 6 pending; about 1:15 left"
    assert seconds_left([Progress(sweep.cells[0], "pending")], jobs=1) is None
