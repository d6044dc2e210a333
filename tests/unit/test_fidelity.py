"""The page on fidelity: one line a method, and nothing named there is missing."""

import re
import shlex

import pytest

from fedsim.build.registries import REGISTRIES
from support.launch import ROOT

PAGE = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
TESTS = {"aggregators": "aggregators", "pre-aggregators": "aggregators", "attacks": "attacks"}
"""Kinds that the page has a section on, and the folder of their tests under tests/unit."""

every_kind = pytest.mark.parametrize("kind", TESTS)


def lines_of(kind: str) -> list[list[str]]:
    """The cells of each line of a section's table, without its head."""
    (section,) = re.findall(rf"^## {kind.capitalize()}\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def own_names(kind: str) -> list[str]:
    """What fedsim itself registers: another test of the same session may have loaded a plugin."""
    registry = REGISTRIES[kind]
    return [name for name in registry.describe() if registry.get(name).__module__.startswith("fedsim.")]


@every_kind
def test_every_method_has_one_line_with_every_cell_filled(kind: str) -> None:
    lines = lines_of(kind)
    assert sorted(cells[0] for cells in lines) == [f"`{name}`" for name in own_names(kind)]
    for cells in lines:
        assert len(cells) == 4, cells[0]
        assert all(cells), cells[0]


@every_kind
def test_every_line_names_tests_that_exist(kind: str) -> None:
    for name, held_against, _, _ in lines_of(kind):
        files = re.findall(r"`(test_\w+\.py)`", held_against)
        assert files, name
        for file in files:
            assert (ROOT / "tests" / "unit" / TESTS[kind] / file).is_file(), f"{name}: {file}"


def test_every_file_and_folder_on_the_page_exists() -> None:
    paths = re.findall(r"`((?:tests|configs|fedsim)/[\w./]+)`", PAGE)
    assert paths
    links = [f"docs/{target}" for target in re.findall(r"\]\(([\w./]+\.md)[)#]", PAGE)]
    assert links
    for path in paths + links:
        assert (ROOT / path).exists(), path
    for file in re.findall(r"`(test_\w+\.py)`", PAGE):
        assert any((ROOT / "tests" / "unit" / folder / file).is_file() for folder in TESTS.values()), file


def test_the_papers_sweeps_are_all_on_the_page() -> None:
    for path in (ROOT / "configs" / "sweeps").glob("*_*.yaml"):
        if path.stem.startswith(("paper_", "revised_")):
            assert f"`configs/sweeps/{path.name}`" in PAGE


def test_every_command_on_the_page_has_paths_that_exist() -> None:
    commands = re.findall(r"^pytest .*$", PAGE, re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        paths = [word for word in words if word.startswith("tests/")]
        assert paths, command
        assert [word for word in words if word not in paths] in ([], ["-m", "slow"]), command
        for path in paths:
            assert (ROOT / path).exists(), command
