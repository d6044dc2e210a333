"""Damaged records stop neither a resumed run nor a sweep's --status, and nothing wrong is taken from them."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from fedsim.sweep.__main__ import main as sweep_main
from fedsim.sweep.plan import Sweep, read_sweep
from fuzz.damage import Scene
from fuzz.oracle import CONTROL, call, mistakes
from fuzz.record_files import metric_files, summary_files
from fuzz.resumed import Runs, resumed
from fuzz.search import search
from fuzz.tally import Tally, long_form
from support.sweeps import AXES, sweep_file

SECONDS = 5.0  # of the processor, of which it takes a small part
SHORT, LONG = 8, 500
SHORT_STATUS, LONG_STATUS = 30, 3_000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(0)])])
def test_a_run_goes_on_from_damaged_records(tmp_path: Path, runs: Runs, count: int) -> None:
    tally = Tally("damaged records, resumed")
    lines = (runs.ours / "metrics.jsonl").read_bytes().splitlines()
    summary = (runs.ours / "summary.json").read_bytes()

    def each(contents: tuple[bytes, bytes]) -> None:
        def harm(scene: Scene) -> str:
            (scene.directory / "metrics.jsonl").write_bytes(contents[0])
            (scene.directory / "summary.json").write_bytes(contents[1])
            return repr(contents)

        how, ended, found = resumed(tmp_path, 0, runs, harm)
        if ended.status != 0 and not found:
            found = ["records stop a run that has its checkpoints"]
        tally.add("resumed" if ended.status == 0 else "refused", found, f"{how}: {ended.err[-250:]!r}", ended.cpu)

    search(
        st.tuples(metric_files(lines), summary_files(summary)), count if count == SHORT else long_form(count), each
    )
    tally.require_clean()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, runs: Runs) -> Sweep:
    """A sweep of which one cell is half done and one is done."""
    folder = tmp_path_factory.mktemp("sweep")
    sweep = read_sweep(sweep_file(folder, axes=AXES), [f"output_dir={folder}", "rounds=2"])
    for cell in sweep.cells[:2]:
        cell.directory.mkdir(parents=True)
        for name in ("config.yaml", "environment.json", "metrics.jsonl", "summary.json"):
            (cell.directory / name).write_bytes((runs.ours / name).read_bytes())
    return sweep


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "count", [SHORT_STATUS, pytest.param(LONG_STATUS, marks=[pytest.mark.slow, pytest.mark.timeout(0)])]
)
def test_one_cell_s_damaged_records_leave_the_status_of_the_others(sweep: Sweep, count: int) -> None:
    tally = Tally("damaged records, sweep --status")
    directory = sweep.cells[1].directory
    lines, summary = (
        (directory / "metrics.jsonl").read_bytes().splitlines(),
        (directory / "summary.json").read_bytes(),
    )
    arguments = [str(sweep.folder.parent / "grid.yaml"), f"output_dir={sweep.folder.parent}", "rounds=2", "--status"]
    whole = call(arguments, program=sweep_main)
    assert whole.status == 0, whole.err
    expected = others(sweep)

    def each(contents: tuple[bytes, bytes]) -> None:
        (directory / "metrics.jsonl").write_bytes(contents[0])
        (directory / "summary.json").write_bytes(contents[1])
        ended = call(arguments, program=sweep_main)
        found = mistakes(ended, SECONDS, statuses=(0,))
        if CONTROL.search(ended.out.replace("\n", "")):
            found.append("control characters are shown")
        if ended.status == 0 and others(sweep) != expected:
            found.append("the other cells are shown differently")
        tally.add(
            "shown" if ended.status == 0 else "refused", found, f"{contents!r}: {ended.err[-250:]!r}", ended.cpu
        )

    search(
        st.tuples(metric_files(lines), summary_files(summary)),
        count if count == SHORT_STATUS else long_form(count),
        each,
    )
    tally.require_clean()


def others(sweep: Sweep) -> list[dict[str, Any]]:
    """What the sweep's table of results says of the other cells; the table is JSON, without NaN."""
    text = (sweep.folder / "results.json").read_text(encoding="utf-8")
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(found) == len(sweep.cells)
    return [row for position, row in enumerate(found) if position != 1]
