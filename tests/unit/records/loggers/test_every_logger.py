"""What every registered logger holds to, with stand-ins for the services."""

import sys
from pathlib import Path

import pytest

from fedsim.build.components import Components, build_components
from fedsim.build.given_settings import decisive_settings
from fedsim.config.run import parse_config
from fedsim.config.source import apply_overrides
from fedsim.errors import ConfigError
from fedsim.new import TEMPLATES
from fedsim.plugins import load_plugin
from fedsim.records.loggers import LoggedRun, loggers
from fedsim.sweep.plan import NO_OTHER_CELL
from support.fake_loggers import a_record, fake_mlflow, fake_wandb

EVERY = [name for name in loggers.describe() if loggers.get(name).__module__.startswith("fedsim.")]


@pytest.fixture(autouse=True)
def _services(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wandb(monkeypatch)
    fake_mlflow(monkeypatch)
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.setenv(name, "1")


def configured(*words: str) -> Components:
    return build_components(parse_config(apply_overrides({}, words)[0]))


@pytest.mark.parametrize("name", EVERY)
def test_it_takes_odd_rounds_and_any_end(name: str, tmp_path: Path) -> None:
    for status in ("completed", "interrupted", "diverged", "failed"):
        logger = loggers.build(name, clients=True)
        logger.check()
        known = logger.start(LoggedRun(name="run", directory=tmp_path, settings=configured().resolved(), label=name))
        assert isinstance(known, str)
        logger.log(a_record(1, quality=type(a_record(1).quality)(), server={}, clients={}, times={}))
        logger.log(a_record(2, metrics={"of a & b": 1.0}))
        logger.log(a_record(4, clients={"trust": dict.fromkeys(range(1500), 0.5)}))
        logger.end(status, {"rounds": 4})


@pytest.mark.parametrize("name", [name for name in EVERY if loggers.get(name).package])
def test_a_missing_package_is_named_before_the_run_with_the_extra_that_brings_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = loggers.get(name).package
    (tmp_path / package).mkdir()  # as a run leaves a folder "wandb": it is no package
    monkeypatch.delitem(sys.modules, package)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(ConfigError) as caught:
        configured(f"tracking.loggers=[{{name: csv}}, {{name: {name}}}]")
    assert caught.value.key == "tracking.loggers.1.name"
    assert f"pip install 'fedsim-byzantine[{name}]'" in str(caught.value)
    build_components(
        parse_config({"tracking": {"loggers": [{"name": name}]}}), require_data=False
    )  # a run is read where its loggers are not installed


def test_the_settings_are_resolved_and_wrong_ones_are_refused_by_name() -> None:
    resolved = configured("tracking.loggers=[{name: csv}, {name: wandb, project: krum}]").resolved()
    found = resolved["tracking"]["loggers"]
    assert found[0] == {"name": "csv", "clients": False}
    assert (found[1]["project"], found[1]["mode"]) == ("krum", None)
    wrong = {"name": "{name: cvs}", "project": "{name: csv, project: p}", "mode": "{name: wandb, mode: x}"}
    for key, words in wrong.items():
        with pytest.raises(ConfigError) as caught:
            configured(f"tracking.loggers=[{words}]")
        assert caught.value.key == f"tracking.loggers.0.{key}"


def test_a_plugin_that_is_only_a_logger_makes_no_other_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text((TEMPLATES / "my_logger.py").read_text())
    source = load_plugin(file)
    config = parse_config(apply_overrides({}, ["tracking.loggers=[{name: my_logger}]"])[0])
    components = build_components(config, [source])
    assert [logger.name for logger in components.loggers] == ["my_logger"]
    assert components.plugins == []
    plain, logged = (decisive_settings(one.resolved(), NO_OTHER_CELL) for one in (configured(), components))
    assert plain == logged
