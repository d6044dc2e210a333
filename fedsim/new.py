"""``fedsim new KIND NAME``: write NAME.py, a component of yours that runs as it stands, and its test beside it."""

import importlib.util
import keyword
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from fedsim.systems import require_posix

require_posix()

from fedsim.build.registries import REGISTRIES
from fedsim.errors import ConfigError, did_you_mean
from fedsim.files import read_text, user_path
from fedsim.parsers import QuietParser
from fedsim.records.console import print_text
from fedsim.standard_streams import keep_standard_streams

TEMPLATES = Path(__file__).resolve().parent / "templates"
"""What docs/extending.md shows: ``my_KIND.py``, and ``test_my_KIND.py`` beside it."""

MISTAKE = 2


def kinds() -> dict[str, Path]:
    """The template of each kind of component.

    >>> "attack" in kinds() and "pre-aggregator" in kinds()
    True
    """
    paths = sorted(TEMPLATES.glob("my_*.py"))
    return {path.stem.removeprefix("my_").replace("_", "-"): path for path in paths}


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 written, 1 if what is said was lost, as on a full disk, 2 a mistake."""
    parser = QuietParser(prog="fedsim new", description=__doc__)
    parser.add_argument("kind", metavar="KIND", help=", ".join(kinds()))
    parser.add_argument("name", metavar="NAME", help="of the component, as in my_attack")
    parser.add_argument("--folder", default=".", help="where the files are written (default: here)")
    try:
        parsed = parser.parse_args(arguments)
        template = _template(parsed.kind)
        _require_name(parsed.name)
        written = _write(template, parsed.name, user_path(parsed.folder, "--folder"))
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"fedsim: {error}\n")
        return MISTAKE
    component, test = written
    (command,) = re.findall(r"^`(fedsim --plugin .*)`$", read_text(component), re.MULTILINE)
    lines = [f"{component} and {test} are written", f"  run it:   {command}", f"  test it:  pytest {test}"]
    return print_text("\n".join(lines))


def _template(kind: str) -> Path:
    known = kinds()
    if kind not in known:
        raise ConfigError("KIND", f"there is no kind '{kind}'", did_you_mean(kind, known))
    return known[kind]


def _require_name(name: str) -> None:
    """ConfigError for what cannot name a component and its module."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        remedy = "use small letters, digits and _, beginning with a letter, as in my_attack"
        raise ConfigError("NAME", f"'{name}' cannot name a component", remedy)
    for kind, registry in REGISTRIES.items():
        if name in registry.describe():
            raise ConfigError("NAME", f"'{name}' is one of fedsim's {kind}", f"choose another, as in my_{name}")


def _write(template: Path, name: str, folder: Path) -> list[Path]:
    """The component and its test, under their names."""
    texts = {}
    for source in (template, template.with_name(f"test_{template.name}")):
        path = folder / source.name.replace(template.stem, name)
        if path.exists():
            raise ConfigError("NAME", f"{path} is there already", "choose another name, or another --folder")
        texts[path] = renamed(read_text(source), template.stem, name)
    if importlib.util.find_spec(name) is not None:  # which the test, or another program here, would find no more
        raise ConfigError("NAME", f"Python has a module called {name}", f"choose another name, as in my_{name}")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    return list(texts)


def renamed(text: str, template: str, name: str) -> str:
    """The text of a template with the name of the component, and of its class, changed.

    >>> renamed("class MyAttack(Attack):  # my_attack", "my_attack", "slow_drift")
    'class SlowDrift(Attack):  # slow_drift'
    >>> renamed("class MyAttack(Attack):  # my_attack", "my_attack", "attack")
    'class OwnAttack(Attack):  # attack'
    """
    words = set(re.findall(r"\w+", text))
    class_name = _class_name(name)
    if class_name in words and class_name != _class_name(template):
        class_name = f"Own{class_name}"
    return re.sub(rf"\b{_class_name(template)}\b", class_name, text.replace(template, name))


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


if __name__ == "__main__":
    keep_standard_streams()
    sys.exit(main(sys.argv[1:]))
