"""Names and texts that a terminal, a file system or a library cannot write: escaped, and the run goes on."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from fedsim.main import main
from fedsim.run_directory.failure_note import record_failure, recorded_failure
from support.forked_ranks import forked_ranks
from support.launch import ROOT, clean_environment
from support.runs import RUN, status

ASCII_TERMINAL = {"PYTHONIOENCODING": "ascii"}
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
    done = run(ASCII_TERMINAL, "fedsim/main.py", *RUN, "rounds=1", f"output_dir={tmp_path}/zürich")
    assert done.returncode == 0, done.stderr
    assert "z\\xfcrich" in done.stderr
    done = run(ASCII_TERMINAL, "-m", "fedsim", "--check", "model.name=größe")
    assert (done.returncode, "unknown model 'gr\\xf6\\xdfe'" in done.stderr) == (2, True)


def test_a_sweep_on_an_ascii_terminal_ends_well(tmp_path: Path) -> None:
    base = "data: {name: synthetic, num_train: 80, num_test: 20}\nmodel: {name: mlp}\nrounds: 1\n"
    (tmp_path / "base.yaml").write_text(f"{base}output_dir: {tmp_path}/ø\ntracking: {{tensorboard: false}}\n")
    (tmp_path / "grid.yaml").write_text("base: base.yaml\naxes: {seed: [3, 4]}\nset: {clients.count: 2}\n")
    done = run(ASCII_TERMINAL, "-m", "fedsim.sweep", f"{tmp_path}/grid.yaml", "--ranks", "1")
    assert done.returncode == 0, done.stderr
    assert "\\xb1" in done.stdout  # mean ± standard deviation
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
                Image.new("RGB", (8, 8), (90 * number, 60, 9)).save(folder / f"{number}.png")
    data = f"data={{name: image_folder, root: '{tmp_path}/images'}}"
    assert main([*RUN, data, "clients.count=2", "rounds=2", "attack=[]", f"output_dir={tmp_path}"]) == 0
    assert status(tmp_path) == "completed"
