"""The command line, and what it says to those who get it wrong."""

import shlex
from pathlib import Path

import pytest

from fedsim.cli import help_text, parse_command_line
from fedsim.errors import ConfigError
from fedsim.help_pages import list_text
from fedsim.main import main
from fedsim.plugins import load_plugin


def test_list_shows_every_component() -> None:
    listed = list_text()
    assert all(name in listed for name in ("fedseca", "sparsity = 0.9", "label_flip", "mnist5k", "dirichlet", "timm"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--resum", "did you mean '--resume'?"),
        ("--seed 3", "without dashes: seed=3"),
        ("rounds=2 --run-name=mine", "without dashes: run_name=mine"),
        ("--attack.name alie --check", "without dashes: attack.name=alie"),
        ("--model mlp", "without dashes: model.name=mlp"),
        ("--lr 0.1", "without dashes: clients.optimizer.lr=0.1"),
        ("--local-epochs --check", "without dashes: clients.local_epochs=..."),
        ("some/where.yml", "--config some/where.yml"),
        ("mine.py", "--plugin mine.py"),
        ("aggregator.name krum", "write aggregator.name=..."),
        ("7", "for example rounds=5"),
    ],
)
def test_what_was_meant_is_said(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_command_line(shlex.split(line))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("aggregator=krum", "write aggregator.name=krum, in YAML aggregator: {name: krum}"),
        ("clients.loss=focal", "write clients.loss.name=focal, in YAML loss: {name: focal}"),
        ("attack=[ipm, alie]", "attack.0: 'ipm' is not a section of keys; write {name: ipm}"),
        ("evaluation.metrics=auroc", "write 'evaluation.metrics=[{name: auroc}]', in YAML metrics: [{name: auroc}]"),
        ("aggregator.pre=nnm", "write 'aggregator.pre=[{name: nnm}]'"),
        ("lr=0.1", "did you mean 'clients.optimizer.lr'?"),
        ("server.lr=0.1", "did you mean 'server.optimizer.lr'?"),
        ("partition.alpha=0.1", "did you mean 'data.partition'?"),
        ("clients=5", "write clients.count=5, in YAML clients: {count: 5}"),
        ("attack.byzantinefraction=0.2", "did you mean 'byzantine_fraction'?"),
        ("data.partition.nam=iid", "did you mean 'name'?"),
        ("server.optimizer.nme=adam", "did you mean 'name'?"),
        ("aggregator.per=[]", "did you mean 'pre'? valid: agree, clamp"),
    ],
)
def test_a_mistake_in_a_setting_is_explained(override: str, says: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", override]) == 2
    assert says in capfd.readouterr().err


def test_help_shows_what_a_bare_command_runs(capfd: pytest.CaptureFixture[str]) -> None:
    text = help_text()
    for line in ('attack.name = "fang"', "attack.num_byzantine = 3", "aggregator.momentum = 0.5", "rounds = 10"):
        assert f"\n  {line}" in text
    assert "of fang: lambda, how far" in text
    assert "clients.optimizer.lr = 0.02" in text
    assert main(["--help"]) == 0
    assert capfd.readouterr().out.rstrip("\n") == text


@pytest.mark.parametrize(
    ("topic", "says"),
    [
        ("attack.mimic", ["attack.name=mimic", "settings of 'mimic'", "https://"]),
        ("attack.name", ['attack.name = "none"', 'without --config: "fang"', "poisonedfl"]),
        ("server.optimizer", ["server.optimizer.lr = 1.0", "fedyogi"]),
        ("server.optimizer.adam", ["server.optimizer.betas = (0.9, 0.999)"]),
        ("model.timm", ["architecture", "pretrained = false"]),
        ("server.buffers", ["choices: cwmed, mean, in_row"]),
        ("tracking.tensorboard", ["choices: true, false"]),
        ("aggregator.pre", ["bucketing", "nnm"]),
        ("attack.target", ["of attack.name=fang", "choices: directed, krum, trimmed_mean"]),
        ("bulyan", ["aggregator.name=bulyan"]),
        ("clients.schedule.cosine", ["clients.schedule.name=cosine"]),
        ("rounds=7", ["rounds = 10"]),
        ("attack.num_byzantine", ["attack.num_byzantine = null", "without --config: 3"]),
    ],
)
def test_help_of_one_key_or_component(topic: str, says: list[str]) -> None:
    text = help_text(topic)
    assert all(part in text for part in says), text


@pytest.mark.parametrize(
    ("topic", "near"),
    [("attack.mimick", "mimic"), ("bulian", "aggregator.bulyan"), ("agregator.name", "aggregator.name")],
)
def test_help_of_what_is_not_there_names_the_nearest(
    topic: str, near: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["--help", topic]) == 2
    assert f"did you mean '{near}'?" in capfd.readouterr().err


PLUGIN = """
from fedsim.aggregators import Aggregator, aggregators


@aggregators.register("plugin_of_the_command_line")
class Mine(Aggregator):
    \"\"\"Only here.\"\"\"

    def aggregate(self, updates, context):
        return updates.mean()
"""


def test_a_plugin_is_listed_and_has_help(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    assert main(["--plugin", str(path), "--list"]) == 0
    assert "plugin_of_the_command_line: Only here." in capfd.readouterr().out
    path.write_text(PLUGIN.replace("of_the_command_line", "with_help"))
    assert main(["--plugin", str(path), "--help", "aggregator.plugin_with_help"]) == 0
    assert "Only here." in capfd.readouterr().out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import torch\n\nx = 1 / 0\n", "line 3: ZeroDivisionError: division by zero"),
        ("def f(:\n", "line 1: SyntaxError: invalid syntax"),
        ("def f():\n    raise ValueError('no')\n\nf()\n", "line 2: ValueError: no"),
        ("import nowhere_to_be_found\n", "line 1: ModuleNotFoundError: No module named"),
        (PLUGIN.replace("plugin_of_the_command_line", "krum"), "line 5: name: aggregator 'krum' is registered"),
        ("assert False\n", "line 1: AssertionError; fix"),
    ],
)
def test_an_error_in_a_plugin_names_file_and_line(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    for path in (Path("mine.py"), tmp_path / "mine.py", Path("..", tmp_path.name, "mine.py")):
        with pytest.raises(ConfigError) as caught:
            load_plugin(path)
        assert f"--plugin {path}, {says}" in str(caught.value)
