"""Sweeps as users run them: killed in the middle and continued, with cells that fail and diverge."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedsim.config.source import apply_overrides
from fedsim.run_directory.lock import holder_of
from fedsim.sweep.__main__ import main
from support.launch import ROOT, clean_environment
from support.runs import RUN, assert_same

CELLS = 6


def sweep_file(folder: Path, **content: object) -> Path:
    """3 x 2 small cells."""
    base, _ = apply_overrides({}, [*(word for word in RUN if not word.startswith("run_name")), "rounds=3"])
    (folder / "base.yaml").write_text(yaml.safe_dump({**base, "output_dir": str(folder / "runs")}))
    path = folder / "grid.yaml"
    axes = {"attack": ["none", "sign_flip", "zero"], "aggregator": ["fedavg", "cwmed"], "seed": [0]}
    path.write_text(yaml.safe_dump({"base": "base.yaml", "axes": axes, **content}, sort_keys=False))
    return path


def start(path: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = clean_environment()
    return subprocess.Popen(
        [sys.executable, "-m", "fedsim.sweep", str(path), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def results(path: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    records = json.loads((path.parent / "runs" / "grid" / "results.json").read_text())
    return {(record["attack"], record["aggregator"], record["seed"]): record for record in records}


def wait_for_cells(process: "subprocess.Popen[str]", count: int) -> None:
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        seen += line.startswith("[")
        if seen == count:
            return
    pytest.fail(f"it ended after {seen} cells")


def cells_running(path: Path) -> list[Path]:
    """Those whose process lives: it holds its claim."""
    return [claim for claim in (path.parent / "runs" / "grid" / "cells").glob("*.lock") if holder_of(claim)]


def test_a_sweep_is_killed_stopped_edited_and_continued(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(tmp_path)
    killed = start(path, "--ranks", "1")
    wait_for_cells(killed, 1)
    killed.kill()
    killed.communicate()
    until = time.monotonic() + 100
    while cells_running(path):  # they stop by themselves
        assert time.monotonic() < until
        time.sleep(0.05)

    stopped = start(path, "--jobs", "2", "--ranks", "1")
    wait_for_cells(stopped, 1)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 75, err
    assert "nothing is lost: the same command goes on" in out
    assert not cells_running(path)
    done = {place for place, record in results(path).items() if record["state"] == "done"}
    assert 2 <= len(done) < CELLS

    assert main([str(path), "--ranks", "1"]) == 0
    out = capfd.readouterr().out
    assert f"{CELLS - len(done)} cells to run" in out
    assert {record["state"] for record in results(path).values()} == {"done"}
    assert "| aggregator | none | sign_flip | zero | worst |" in out

    before = {place: record["config_hash"] for place, record in results(path).items()}
    edited = sweep_file(
        tmp_path,
        overrides=[{"where": {"aggregator": "cwmed", "attack": "none"}, "set": {"clients.optimizer.lr": 0.01}}],
    )
    assert main([str(edited), "--ranks", "1"]) == 0
    assert "1 cell to run" in capfd.readouterr().out
    changed = [place for place, record in results(edited).items() if record["config_hash"] != before[place]]
    assert changed == [("none", "cwmed", "0")]


def test_cells_that_fail_or_diverge_stop_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(
        tmp_path,
        axes={
            "case": {
                "fails": {"attack": {"name": "nonfinite", "num_byzantine": 1}, "runtime.nonfinite": "error"},
                "diverges": {"server.optimizer": {"name": "sgd", "lr": 9e37}, "clients.optimizer.lr": 1000.0},
                "last": {"rounds": 1},
            },
            "aggregator": ["fedavg"],
        },
    )
    assert main([str(path), "--jobs", "2", "--ranks", "1"]) == 1
    capfd.readouterr()
    assert main([str(path), "--status"]) == 0
    out = capfd.readouterr().out
    said = {line.split(",")[0]: line for line in out.splitlines() if line.startswith("case=")}
    assert "  done " in said["case=last"]
    assert "  failed " in said["case=fails"]
    assert "clients [3] sent NaN or infinity" in said["case=fails"]
    assert "  diverged " in said["case=diverges"]
    assert "3 cells: 1 done, 1 diverged, 1 failed" in out

    assert main([str(path), "--retry", "failed", "--ranks", "1"]) == 1
    assert "1 cell to run" in capfd.readouterr().out
    assert main([str(path)]) == 1
    assert "0 cells to run" in capfd.readouterr().out


def test_a_forked_cell_is_the_run_of_its_config(tmp_path: Path) -> None:
    """The same bits, and the same records."""
    path = sweep_file(tmp_path, axes={"aggregator": ["fedavg"]}, set={"runtime.device": "cpu"})
    assert main([str(path), "--ranks", "1"]) == 0
    (config,) = (tmp_path / "runs" / "grid" / "cells").glob("*.yaml")
    by_command = tmp_path / "by_command"
    arguments = ["--config", str(config), "--resume-or-start", f"output_dir={by_command}", "run_name=run"]
    done = subprocess.run(
        [sys.executable, "-m", "fedsim", *arguments], cwd=ROOT, env=clean_environment(), check=False
    )
    assert done.returncode == 0
    (cell,) = (path.parent / "runs" / "grid" / "fedavg").iterdir()
    (tmp_path / "forked").mkdir()
    (tmp_path / "forked" / "run").symlink_to(cell)
    assert_same(tmp_path / "forked", by_command, rounds=3)
    facts, others = (json.loads((run / "environment.json").read_text()) for run in (cell, by_command / "run"))
    assert facts.pop("command")[:4] == others.pop("command")[:4]
    assert facts.keys() == others.keys()
    assert [key for key in facts if facts[key] != others[key]] == ["run"]


def test_a_cell_that_cannot_start_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(tmp_path, axes={"aggregator": ["fedavg"]})
    (tmp_path / "runs").mkdir()
    plugin = tmp_path / "theirs.py"
    plugin.write_text(
        "import sys\nif 'fedsim.sweep.plan' not in sys.modules:\n    raise OSError('the disk is on fire')\n"
    )
    assert main([str(path), "--plugin", str(plugin), "--ranks", "1"]) == 1
    assert "theirs.py, line 3: OSError: the disk is on fire" in capfd.readouterr().out


def test_a_mistake_stops_all_before_anything_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = sweep_file(tmp_path, axes={"aggregator": ["fedavg", "cwmde"]})
    assert main([str(path)]) == 2
    err = capfd.readouterr().err
    assert "cell aggregator=cwmde: aggregator.name: unknown aggregator 'cwmde'; did you mean 'cwmed'?" in err
    assert not (tmp_path / "runs").exists()
