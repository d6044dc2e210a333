"""A run that is resumed from a damaged directory ends as the undamaged one would, or a sentence says why not."""

from functools import partial
from pathlib import Path

import pytest

from fuzz.damage import damage
from fuzz.resumed import Runs, resumed
from fuzz.tally import Tally, long_form

SHORT, LONG = 14, 1_000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=[pytest.mark.slow, pytest.mark.timeout(0)])])
def test_a_damaged_directory_gives_the_same_results_or_a_sentence(tmp_path: Path, runs: Runs, count: int) -> None:
    tally = Tally("damaged run directories")
    for seed in range(count if count == SHORT else long_form(count)):
        times = 1 if seed % 4 else 2
        how, ended, found = resumed(tmp_path, seed, runs, partial(damage, times=times))
        tally.add(runs.outcome(ended), found, f"seed {seed}: {how}: {ended.err[-250:]!r}", ended.cpu)
    tally.require_clean()
