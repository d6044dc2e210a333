"""Names and texts that a terminal, a file system or a library cannot write: escaped, and the run goes on."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from fedsim.main import main
from fedsim.run_directory.failure_note import record_failure, recorded_failure
from fedsim.sweep.__main__ import main as sweep
from fedsim.sweep.plan import read_sweep
from support.forked_ranks import forked_ranks
from support.launch import ROOT, clean_environment
from support.runs import RUN, status
from support.sweeps import leave, sweep_file

ASCII_ONLY = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN = os.fsdecode(b"caf\xe9")
"""A name in Latin-1."""


def run(variables: Mapping[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    environment = {**clean_environment(), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_an_ascii_terminal_shows_escapes(tmp_path: Path) -> None:
    ascii_terminal = tmp_path / "ascii_terminal.py"
    ascii_terminal.write_text(
        "import sys\n"
        "sys.stdout.reconfigure(encoding='ascii', errors='strict')\n"
        "sys.stderr.reconfigure(encoding='ascii', errors='backslashreplace')\n"
    )
    plugin = ["--plugin", str(ascii_terminal)]
    done = forked_ranks(1, *plugin, *RUN, "rounds=1", f"output_dir={tmp_path}/zürich")
    assert done.status == 0, done.err
    assert "z\\xfcrich" in done.err
    assert "z\\xfcrich" in done.out
    done = forked_ranks(1, *plugin, "--check", "model.name=größe")
    assert (done.status, "unknown model 'gr\\xf6\\xdfe'" in done.err) == (2, True)


def test_results_of_a_sweep_are_shown_on_an_ascii_terminal(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep_file(tmp_path, axes={"seed": [0, 1]}, set={"output_dir": f"{tmp_path}/ø"})
    for position in range(2):
        leave(read_sweep(path), position, "completed", 0.5)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(1, "w", closefd=False), "ascii", "strict"))
    assert sweep([str(path), "--status"]) == 0
    assert rb"\xb1" in capfdbinary.readouterr().out  # mean ± standard deviation
    assert (tmp_path / "ø" / "grid" / "results.csv").exists()


def test_a_file_system_encoding_of_ascii_keeps_names_in_utf_8(tmp_path: Path) -> None:
    config = tmp_path / "ñ.yaml"
    config.write_text(f"output_dir: {tmp_path}/łódź\nrun_name: ångström\n", encoding="utf-8")
    options = ["fedsim/main.py", *RUN[:-1], "--config", str(config)]
    done = run(ASCII_ONLY, *options, "rounds=1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "łódź" / "ångström" / "summary.json").exists()
    again = run(ASCII_ONLY, *options, "rounds=2", "--resume")
    assert "resumed after round 1" in again.stderr


def test_names_that_are_no_utf_8_are_written_read_again_and_shared_by_ranks(tmp_path: Path) -> None:
    """Not in this process: pytest's workers cannot report a log with such a name."""
    options = [*RUN, f"output_dir={tmp_path}/{LATIN}"]
    done = forked_ranks(1, *options, "rounds=1")
    assert done.status == 0, done.err
    assert "TensorBoard takes only names in UTF-8" in done.err
    done = forked_ranks(2, *options, "rounds=2", "--resume")
    assert done.status == 0, done.err
    assert "resumed after round 1" in done.err
    assert "caf\\udce9" in done.err
    assert status(tmp_path / LATIN) == "completed"


def test_a_failure_with_such_a_name_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"{LATIN}.pt").write_bytes(b"no weights")
    model = f"model={{name: timm, architecture: test_resnet, weights: '{tmp_path}/{LATIN}.pt'}}"
    assert main([*RUN, model, f"output_dir={tmp_path}"]) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if "configuration error" in line]
    assert len(said) == 1
    assert "caf\\udce9.pt" in said[0]
    assert record_failure(tmp_path, f"no {LATIN}")
    assert recorded_failure(tmp_path) == "no caf\\udce9"


def test_classes_with_such_names_are_shown_escaped(tmp_path: Path, cache: Path) -> None:
    for part in ("train", "test"):
        for kind in (LATIN, "tea"):
            folder = tmp_path / "images" / part / kind
            folder.mkdir(parents=True)
            for number in range(2):
                Image.new("RGB", (20, 20), (90 * number, 60, 9)).save(folder / f"{number}.png")
    data = f"data={{name: image_folder, root: '{tmp_path}/images'}}"
    assert main([*RUN, data, "clients.count=2", "rounds=2", "attack=[]", f"output_dir={tmp_path}"]) == 0
    assert status(tmp_path) == "completed"
