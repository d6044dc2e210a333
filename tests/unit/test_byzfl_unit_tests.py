"""ByzFL's own unit tests, run on our methods.

They are in the folder `tests` of github.com/LPD-EPFL/byzfl, not in its package, and none of their text is here. With
that folder at hand: FEDSIM_BYZFL_TESTS=FOLDER pytest -m slow tests/unit/test_byzfl_unit_tests.py
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from support.launch import ROOT, TESTS

VARIABLE = "FEDSIM_BYZFL_TESTS"
OF_TRAINING = {"unit_test_benchmark.py", "unit_test_snn_benchmark.py", "unit_test_snn_training.py"}
"""They test ByzFL's own training loop, for which there is no stand-in."""
DIFFERENT = {
    "Inf": "`nonfinite` draws NaN, +Inf or -Inf for each coordinate, not +Inf for all",
    "OptimalALittleIsEnough": "the factor is searched below the mean, with a first step of 1 instead of 10",
    "OptimalInnerProductManipulation": "the factor is searched with a first step of 1 instead of 10",
}
"""What ByzFL's tests demand of these is not what ours do: see unit/attacks/test_byzfl.py."""
IN_PLACE_OF_BYZFL = """
import sys
import pytest
from support import byzfl_adapter
sys.modules["byzfl"] = byzfl_adapter
sys.exit(pytest.main(sys.argv[1:]))
"""


def outcomes(files: list[Path], folder: Path) -> dict[str, set[bool]]:
    """Whether the tests of each class passed, run in a process in which the adapter is ByzFL."""
    report, options = folder / "report.xml", ["-p", "no:cacheprovider", "--continue-on-collection-errors"]
    done = subprocess.run(
        [sys.executable, "-c", IN_PLACE_OF_BYZFL, *options, f"--junitxml={report}", *map(str, files)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, set[bool]] = {}
    for case in ET.parse(report).iter("testcase"):
        name = case.get("classname").split(".")[-1].removeprefix("Test").removesuffix("Attack")
        found.setdefault(name, set()).add(case.find("failure") is None and case.find("error") is None)
    return found


@pytest.mark.slow
def test_byzfl_tests_pass_but_for_what_is_different_by_definition(tmp_path: Path) -> None:
    if VARIABLE not in os.environ:  # not in CI either, which does not fetch it
        pytest.skip(f"{VARIABLE} is not set: it names a folder with ByzFL's unit_test_*.py")
    folder = Path(os.environ[VARIABLE]).resolve()
    files = sorted(path for path in folder.glob("unit_test_*.py") if path.name not in OF_TRAINING)
    assert files, f"no unit_test_*.py in {folder}"
    found = outcomes(files, tmp_path)
    assert found == {name: {name not in DIFFERENT} for name in found}
    assert found.keys() - DIFFERENT.keys(), "not one test of what is the same"


@pytest.mark.slow
def test_a_test_that_our_methods_fail_and_one_that_cannot_be_read_count_as_failed(tmp_path: Path) -> None:
    test = "import byzfl\n\nclass TestMedianAttack:\n    def test_it(self):\n        assert byzfl.Median() is None\n"
    (tmp_path / "unit_test_one.py").write_text(test)
    (tmp_path / "unit_test_two.py").write_text("import byzfl.nothing\n")
    found = outcomes(sorted(tmp_path.glob("unit_test_*.py")), tmp_path)
    assert found["Median"] == {False}
    assert len(found) == 2
    assert set.union(*found.values()) == {False}
