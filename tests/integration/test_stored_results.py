"""Two cells of docs/results, run again for their first rounds."""

import csv
from pathlib import Path

import pytest
import torch

import fedsim
from fedsim.machine import processor
from fedsim.results_version import RESULTS_VERSION
from fedsim.sweep.plan import read_sweep

ROOT = Path(__file__).parents[2]
STORED = ROOT / "docs" / "results" / "mnist5k_two_rounds"
NUMBERS = ("accuracy", "balanced_accuracy", "macro_f1", "loss")


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as content:
        return list(csv.DictReader(content))


@pytest.mark.parametrize("stored", read_table(STORED / "results.csv"), ids=lambda cell: cell["attack"])
def test_a_stored_cell_has_the_same_bits_again(stored: dict[str, str], tmp_path: Path) -> None:
    """On another processor or torch, sums may round otherwise: there the numbers are only close."""
    only = [f"{axis}={stored[axis]}" for axis in ("attack", "aggregator", "seed")]
    sweep = read_sweep(ROOT / "configs" / "sweeps" / "mnist5k_grid.yaml", ["rounds=2"], only)
    (cell,) = sweep.cells
    again = fedsim.run(cell.config, {"output_dir": str(tmp_path)}, quiet=True).metrics.iloc[-1]

    (made,) = read_table(STORED / "tables" / "environment.csv")
    assert made["results version"] == str(RESULTS_VERSION), "bits have changed on purpose: run docs/results/make.sh"
    same_machine = made["torch"] == torch.__version__.partition("+")[0] and made["processor"] == processor()
    tolerance = 0.0 if same_machine else 0.05
    for name in NUMBERS:
        assert again[name] == pytest.approx(float(stored[name]), abs=tolerance, rel=0), name
