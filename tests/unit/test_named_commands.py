"""What README, docs, launch, slurm and configs name is there: files, commands, settings."""

import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsim.attacks import attacks
from fedsim.benchmark.__main__ import _parser as benchmark_parser
from fedsim.build.components import build_components
from fedsim.build.registries import REGISTRIES
from fedsim.cli import QUICKSTART, parse_command_line
from fedsim.config.run import RunConfig, parse_config
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.help_pages import topic_text
from fedsim.sweep.__main__ import _parser as sweep_parser
from fedsim.yaml_text import parse_yaml
from support.launch import ROOT

TEXTS = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(path for folder in ("launch", "slurm") for path in (ROOT / folder).iterdir()),
    *sorted((ROOT / "configs").rglob("*.yaml")),
]
PAGES = [path for path in TEXTS if path.suffix == ".md"]
OF_THE_READER = {"my.yaml", "mixture.yaml", "shout.py"}
"""Files that a reader is to write."""

COMMAND = re.compile(r"(fedsim/main\.py|-m fedsim\.\w+|(?:launch|slurm)/\w+\.sh)((?: +[^\s`#|;)<>&]+)*)( *<)?")


def commands(program: str) -> Iterator[tuple[Path, list[str]]]:
    """The arguments of every full command of a program; not of a synopsis, nor of one in a script's body."""
    for path in TEXTS:
        for name, arguments, end in COMMAND.findall(path.read_text(encoding="utf-8")):
            placeholders = end or re.search(r"\[|\$|\.\.\.|\b[A-Z]{4}|--help|--config$", arguments)
            if name.endswith(program) and not placeholders:
                yield path, [word for word in shlex.split(arguments) if word != "--"]  # the end of a comment


def check_run(arguments: list[str]) -> None:
    """What ``--check`` does, without the data: the reader's own config, and a run of hers, is the default here."""
    pairs = zip(["", *arguments], arguments, strict=False)
    command = parse_command_line([word for before, word in pairs if before != "--resume" or "=" in word])
    if any(word == "shout.py" for word in command.plugins) and "shout" not in attacks.describe():
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        exec(next(code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Shout" in code), {})
    config = QUICKSTART if command.config.name in OF_THE_READER else ROOT / command.config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FedsimWarning)
        build_components(parse_config(apply_overrides(read_yaml(config), command.overrides)[0]))


@pytest.fixture(autouse=True)
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set is on this machine, and none is needed."""
    for registered in REGISTRIES["data sets"].describe():
        monkeypatch.setattr(REGISTRIES["data sets"].get(registered), "check", lambda *_: None)


def test_every_command_of_a_run_is_valid() -> None:
    found = list(commands("fedsim/main.py"))
    assert len(found) > 10
    for path, arguments in found:
        try:
            check_run(arguments)
        except ConfigError as error:
            pytest.fail(f"{path.name}: fedsim/main.py {shlex.join(arguments)}: {error}")


@pytest.mark.parametrize("script", ["launch/local.sh", "launch/multinode.sh", "slurm/submit.sh"])
def test_every_command_of_a_launch_is_valid(script: str) -> None:
    found = [(path, arguments) for path, arguments in commands(script) if arguments]
    assert found
    for path, arguments in found:
        if script == "slurm/submit.sh":
            job = next(position for position, word in enumerate(arguments) if word.endswith(".sbatch"))
            rest = arguments[job + 1 :]
        else:
            rest = list(arguments)
            while rest and rest[0] in ("--ranks", "--nodes", "--at", "--id", "--restarts"):
                rest = rest[2:]
        try:
            check_run(rest)
        except ConfigError as error:
            pytest.fail(f"{path.name}: {script} {shlex.join(arguments)}: {error}")


def test_every_command_of_a_tool_can_be_parsed() -> None:
    sweeps, benchmarks, preparations = (
        list(commands(f"fedsim.{tool}")) for tool in ("sweep", "benchmark", "prepare")
    )
    for _, arguments in sweeps:
        if arguments:
            assert (ROOT / sweep_parser().parse_intermixed_args(arguments).file).exists()
    for _, arguments in benchmarks:
        if arguments and arguments != ["aggregators"]:
            benchmark_parser().parse_args(arguments)
    for _, arguments in preparations:
        assert not arguments or arguments[0] in REGISTRIES["data sets"].describe()
    assert min(len(sweeps), len(benchmarks), len(preparations)) > 2


NAMED = re.compile(r"(?<![\w./<-])((?:configs|docs|launch|slurm|fedsim|tests|\.ci)/[\w./-]*\w\.[a-z]\w*)")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    absent = [name for name in NAMED.findall(text) if not (ROOT / name).exists()]
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text) if path in PAGES else []
    absent += [link for link in links if not (path.parent / link).exists()]
    yaml = re.findall(r"(?<![\w./*<-])(\w+\.yaml)\b", text)
    known = {file.name for file in (ROOT / "configs").rglob("*.yaml")} | OF_THE_READER | {"config.yaml"}
    absent += [name for name in yaml if name not in known]
    assert not absent


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_section_that_a_link_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for page, section in re.findall(r"\]\(((?!https?:)[^)#\s]*)#([\w-]+)\)", text):
        headings = re.findall(r"^#+ (.*)$", (path.parent / page if page else path).read_text(encoding="utf-8"), re.M)
        anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
        assert section in anchors, f"{page}#{section}"


@pytest.mark.parametrize("path", [path for path in PAGES if path.name != "glossary.md"], ids=lambda path: path.name)
def test_every_setting_that_is_named_is_one(path: Path) -> None:
    """Dotted keys in code, but for the names of metrics."""
    text, metrics = path.read_text(encoding="utf-8"), (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    for code in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:[=:][^`]*)?`", text):
        if code.split(".")[0] in RunConfig.model_fields and f"| `{code}`" not in metrics:
            topic_text(code, {})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_piece_of_a_config_is_valid(path: Path) -> None:
    for text in re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        values = parse_yaml(text, str(path))
        if set(values) & {"axes", "base"}:
            continue  # of a sweep
        build_components(parse_config({**values, "clients": {"count": 8, **values.get("clients", {})}}))
