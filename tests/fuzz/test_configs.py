"""Any configuration is valid or one sentence, at once: ``main --check`` on files and overrides from the schema."""

from pathlib import Path

import pytest
from hypothesis import strategies as st

from fedsim.build.components import build_components
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides, read_yaml
from fedsim.yaml_text import yaml_text
from fuzz.configs import Given, given_configs
from fuzz.hostile_yaml import hostile_files, hostile_overrides
from fuzz.oracle import call, mistakes
from fuzz.search import search
from fuzz.tally import Tally, long_form

SECONDS = 5.0  # of the processor; the largest file that is read takes one, where another program shares the core
SHORT, LONG = 60, 10_000


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the default data; what is imported only where it is used is imported, too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSIM_CACHE", str(folder))
        assert call(["--check"], seconds=200).status == 0
    return folder


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, decoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data of the user's, no network, and no seconds for a compiler."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDSIM_CACHE", str(decoded))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("fedsim.main.require_compiler", lambda runtime: None)


def check(tally: Tally, file: bytes, overrides: tuple[str, ...], example: str) -> None:
    Path("config.yaml").write_bytes(file)
    ended = call(["--check", "--config", "config.yaml", "--", *overrides], seconds=30)
    found = mistakes(ended, SECONDS)
    if ended.status == 0 and not found:
        found = reads_back_differently(overrides)
    tally.add("valid" if ended.status == 0 else "refused", found, f"{example}: {ended.err[-200:]!r}", ended.cpu)


def reads_back_differently(overrides: tuple[str, ...]) -> list[str]:
    """A valid configuration, written with all defaults and read again, is the same one."""
    values, _ = apply_overrides(read_yaml(Path("config.yaml")), overrides)
    resolved = build_components(parse_config(values), require_data=False).resolved()
    Path("resolved.yaml").write_text(yaml_text(resolved), encoding="utf-8", errors="surrogateescape")
    again = build_components(parse_config(read_yaml(Path("resolved.yaml"))), require_data=False).resolved()
    return [] if again == resolved else ["what is written to config.yaml reads back differently"]


def fuzz(tally: Tally, count: int, strategy: st.SearchStrategy[Given]) -> None:
    def each(one: Given) -> None:
        check(tally, one.file.encode("utf-8", "surrogatepass"), one.overrides, str(one))

    search(strategy, count, each)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)])
def test_a_configuration_is_valid_or_one_sentence(count: int) -> None:
    tally = Tally("configurations")
    fuzz(tally, count if count == SHORT else long_form(count), given_configs())
    tally.require_clean()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG // 4, marks=pytest.mark.slow)])
def test_a_hostile_file_is_one_sentence(count: int) -> None:
    tally = Tally("hostile YAML files")
    fuzz(tally, count if count == SHORT else long_form(count), hostile_files())
    tally.require_clean()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [SHORT, pytest.param(LONG // 4, marks=pytest.mark.slow)])
def test_a_hostile_override_is_one_sentence(count: int) -> None:
    tally = Tally("hostile overrides")
    fuzz(tally, count if count == SHORT else long_form(count), hostile_overrides())
    tally.require_clean()
