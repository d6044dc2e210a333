"""Which class ``my_net.py:Net`` is: only what a plugin has loaded, and only what makes modules."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from fedsim.models.module_path import find_maker
from support.plugin_files import plugin
from support.timm_weights import refused

TEXT = """
import math
from subprocess import run
from torch import nn
from torch.nn import Identity

class Net(nn.Linear): pass
class Other: pass
made = nn.Linear(1, 1)
number = 3
def make(): return Net(1, 1)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return plugin(tmp_path / "nets.py", TEXT, monkeypatch)


@pytest.mark.parametrize("name", ["Net", "make", "Identity"])
def test_classes_of_modules_and_functions_of_the_file_are_found(file: Path, name: str) -> None:
    maker = find_maker(f"{file}:{name}")
    assert maker.label == f"{file}:{name}"
    assert maker.file == file


def test_a_file_is_the_same_by_any_path_to_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    (file.parent / "link").symlink_to(file.parent)
    for path in ("nets.py", "./nets.py", "link/nets.py"):
        assert find_maker(f"{path}:Net").make is find_maker(f"{file}:Net").make


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nat", "has no class 'Nat'; did you mean 'Net'?"),
        ("Other", "derives from object; derive it from torch.nn.Module"),
        ("made", "is a module already"),
        ("number", "is 3; name a class"),
        ("run", "is a function of another file, subprocess"),
        ("math", "name a class that derives from torch.nn.Module"),
        ("", "does not say which class"),
    ],
)
def test_what_makes_no_module_is_refused(file: Path, name: str, words: str) -> None:
    assert words in refused("path", lambda: find_maker(f"{file}:{name}"))


def test_a_file_without_its_class_names_the_class_to_write(file: Path) -> None:
    assert f"write {file}:Net" in refused("path", lambda: find_maker(str(file)))


def test_a_file_that_was_not_given_does_not_run(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert f"add --plugin {other}" in refused("path", lambda: find_maker(f"{other}:Net"))
    assert not (tmp_path / "ran").exists()
    assert "there is no file" in refused("path", lambda: find_maker(f"{tmp_path}/absent.py:Net"))


def test_the_path_of_a_plugin_in_another_folder_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "elsewhere").mkdir()
    monkeypatch.chdir(file.parent / "elsewhere")
    assert f"write {file}, as after --plugin" in refused("path", lambda: find_maker("nets.py:Net"))


def test_without_a_path_the_message_says_what_to_type() -> None:
    message = refused("path", lambda: find_maker(None))
    assert "model.path=my_net.py:Net" in message
    assert "--plugin my_net.py" in message


@pytest.mark.parametrize("path", ["os:system", "subprocess:run", f"{Path(__import__('os').__file__)}:system"])
def test_functions_of_other_modules_cannot_be_named(file: Path, path: str) -> None:
    assert "function of another file" in refused("path", lambda: find_maker(path))


def test_a_module_that_a_plugin_imports_may_be_named_and_no_other(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = ModuleType("my_package_of_nets")
    package.__file__ = str(file.parent / "my_package_of_nets.py")
    setattr(package, "Wide", type("Wide", (nn.Module,), {}))  # noqa: B010
    assert "neither a file nor a module" in refused("path", lambda: find_maker("my_package_of_nets:Wide"))
    monkeypatch.setitem(sys.modules, "my_package_of_nets", package)
    assert find_maker("my_package_of_nets:Wide").make is vars(package)["Wide"]
    monkeypatch.delitem(sys.modules, "fedsim_plugin_nets")
    for name in [name for name in sys.modules if name.startswith("fedsim_plugin_")]:  # of other tests
        monkeypatch.delitem(sys.modules, name)
    assert "--plugin" in refused("path", lambda: find_maker("my_package_of_nets:Wide"))
