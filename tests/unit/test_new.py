"""What `fedsim new` writes runs as it stands, and docs/extending.md shows the same."""

import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedsim.build.components import build_components
from fedsim.build.registries import REGISTRIES
from fedsim.cli import QUICKSTART, parse_command_line
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.new import kinds, main
from support.launch import ROOT

pytestmark = pytest.mark.filterwarnings("ignore")


def found_in(path: Path) -> Iterator[Any]:
    """The test functions of a file, as pytest would find them."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield from (value for name, value in vars(module).items() if name.startswith("test_"))


def test_there_is_a_template_of_each_kind() -> None:
    names = {"data sets": "data", "losses": "loss"}
    assert set(kinds()) == {names.get(kind, kind.removesuffix("s")) for kind in REGISTRIES}


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_what_is_written_passes_its_own_tests_and_its_command_is_valid(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([kind, "steady_wind"]) == 0
    said = capfd.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"steady_wind.py", "test_steady_wind.py"}
    found = list(found_in(tmp_path / "test_steady_wind.py"))
    assert len(found) >= 2
    for test in found:
        folder = tmp_path / test.__name__
        folder.mkdir()
        test(**({"tmp_path": folder} if inspect.signature(test).parameters else {}))
    typed = parse_command_line(shlex.split(re.search(r"fedsim (--plugin .*)", said)[1]))
    assert typed.plugins == ["steady_wind.py"]
    config = parse_config(apply_overrides(read_yaml(QUICKSTART), typed.overrides)[0])
    components = build_components(config)
    used = [component.name for component in (*components.registered, *components.loggers)]
    assert "steady_wind" in used


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_the_page_shows_what_is_written(kind: str, tmp_path: Path) -> None:
    name = f"my_{kind.replace('-', '_')}"
    assert main([kind, name, "--folder", str(tmp_path / "new")]) == 0
    text = (tmp_path / "new" / f"{name}.py").read_text()
    assert f"```python\n{text}```\n" in (ROOT / "docs" / "extending.md").read_text()
    assert "MyAttack" in text or kind != "attack"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["attak", "mine"], "KIND: there is no kind 'attak'; did you mean 'attack'?"),
        (["attack", "My-Attack"], "NAME: 'My-Attack' cannot name a component; use small letters, digits and _"),
        (["attack", "2fast"], "'2fast' cannot name"),
        (["attack", "lambda"], "'lambda' cannot name"),
        (["attack", "krum"], "NAME: 'krum' is one of fedsim's aggregators; choose another, as in my_krum"),
        (["attack", "torch"], "NAME: Python has a module called torch; choose another name, as in my_torch"),
        (["attack"], "the following arguments are required: NAME"),
        (["attack", "mine", "--folder", "$NOWHERE_TO_BE"], "the variable $NOWHERE_TO_BE is not set"),
    ],
)
def test_what_cannot_be_written_is_explained(
    typed: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(typed) == 2
    assert says in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["mine.py", "test_mine.py"])
def test_nothing_is_overwritten(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(there).write_text("of mine")
    assert main(["model", "mine"]) == 2
    assert f"{there} is there already" in capfd.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["of mine"]
