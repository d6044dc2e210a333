"""The examples of the generated pages can be pasted as they stand."""

import doctest
import re
from pathlib import Path

import pytest

from fedsim.build.registries import REGISTRIES
from fedsim.docs.pages import PAGES, with_tables
from support.launch import ROOT


@pytest.mark.parametrize("page", ["aggregators", "attacks"])
def test_every_example_runs_by_itself(page: str) -> None:
    path = ROOT / "docs" / f"{page}.md"
    examples = re.findall(r"```pycon\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    described = [one for kind in PAGES[page][1] for one in REGISTRIES[kind].describe().values()]
    assert len(examples) >= sum(">>> " in one.documentation for one in described) > 0
    for number, example in enumerate(examples):
        test = doctest.DocTestParser().get_doctest(example, {}, f"{path.name} {number}", str(path), 0)
        assert doctest.DocTestRunner().run(test).failed == 0


def test_a_table_stands_in_a_page_as_its_file_has_it(tmp_path: Path) -> None:
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "one.md").write_text("| a |\n|---|\n| \\1 |\n\n")
    (tmp_path / "two.md").write_text("two\n")
    page = tmp_path / "page.md"
    page.write_text(
        "Before.\n\n<!-- table: sums/one.md -->\nold\n<!-- end -->\n\n<!-- table: two.md -->\n<!-- end -->\nAfter.\n"
    )
    text = with_tables(page)
    assert text == (
        "Before.\n\n<!-- table: sums/one.md -->\n| a |\n|---|\n| \\1 |\n<!-- end -->\n\n"
        "<!-- table: two.md -->\ntwo\n<!-- end -->\nAfter.\n"
    )
    page.write_text(text)
    assert with_tables(page) == text
