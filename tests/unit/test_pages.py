"""The examples of the generated pages can be pasted as they stand."""

import doctest
import re

import pytest

from fedsim.build.registries import REGISTRIES
from fedsim.docs import PAGES
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
