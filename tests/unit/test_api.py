"""Runs from Python: the results of a command, in a process that is afterwards as it was before."""

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

import fedsim
from fedsim.attacks import Attack, AttackView, attacks
from fedsim.errors import ComponentError, ConfigError
from fedsim.main import main

TINY: dict[str, Any] = {
    "rounds": 2,
    "data": {"name": "synthetic", "shape": [4], "num_train": 80, "num_test": 40, "partition": {"name": "iid"}},
    "model": {"name": "mlp", "hidden": [3]},
    "clients": {"count": 4},
    "attack": {"name": "alie", "num_byzantine": 1},
    "tracking": {"tensorboard": False},
}
WORDS = [
    *("rounds=2", "data.name=synthetic", "data.shape=[4]", "data.num_train=80", "data.num_test=40"),
    *("data.partition.name=iid", "model.name=mlp", "model.hidden=[3]", "clients.count=4"),
    *("attack.name=alie", "attack.num_byzantine=1", "tracking.tensorboard=false"),
]


def run(folder: Path, **settings: Any) -> fedsim.RunResult:
    return fedsim.run({"output_dir": str(folder), **TINY}, settings, quiet=True)


def checksum(directory: Path, done: int = 2) -> str:
    """Of everything that a checkpoint holds."""
    with safe_open(directory / "checkpoints" / f"round_{done:06d}.safetensors", "pt") as file:
        return str(file.metadata()["checksum"])


def test_a_run_has_the_bits_of_the_command(tmp_path: Path) -> None:
    command = [*WORDS, "aggregator.name=cwmed", f"output_dir={tmp_path / 'typed'}", "run_name=run"]
    assert main(command) == 0
    first, second = (run(tmp_path, aggregator="cwmed") for _ in range(2))
    assert first.directory != second.directory
    assert checksum(first.directory) == checksum(second.directory) == checksum(tmp_path / "typed" / "run")
    assert first.settings == {**second.settings}
    assert first.summary["final_accuracy"] == first.metrics["accuracy"].iloc[-1]


def test_overrides_are_words_dotted_keys_or_sections(tmp_path: Path) -> None:
    config = {"output_dir": str(tmp_path), **TINY}
    wanted = {"name": "cwtm", "pre": [{"name": "nnm"}]}
    for overrides in (
        ["aggregator.name=cwtm", "aggregator.pre=[{name: nnm}]"],
        {"aggregator.name": "cwtm", "aggregator.pre": [{"name": "nnm"}]},
        {"aggregator": wanted},
    ):
        settings = fedsim.run(config, overrides, quiet=True).settings["aggregator"]
        assert (settings["name"], settings["pre"][0]["name"]) == ("cwtm", "nnm")
    assert config == {"output_dir": str(tmp_path), **TINY}


def test_numbers_of_numpy_and_torch_tuples_and_paths_are_settings(tmp_path: Path) -> None:
    values = {
        "output_dir": tmp_path,
        "seed": np.int64(3),
        "clients.optimizer.lr": np.float32(0.5),
        "data.shape": (4,),
    }
    settings = fedsim.run(
        {**TINY, "rounds": np.int64(1)}, {**values, "attack.z": torch.tensor(0.5)}, quiet=True
    ).settings
    assert (settings["seed"], settings["rounds"], settings["attack"]["z"]) == (3, 1, 0.5)
    with pytest.raises(ConfigError, match="seed: object is no type of a setting"):
        fedsim.run(TINY, {"seed": object()})


def test_without_a_config_it_is_the_quickstart() -> None:
    with pytest.raises(ConfigError, match=r"clients\.counts.*count"):
        fedsim.run(overrides={"clients.counts": 3})


def state_of_process() -> list[object]:
    root, umask = logging.getLogger(), os.umask(0o022)
    os.umask(umask)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return [
        *(torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.get_float32_matmul_precision()),
        *(root.level, list(root.handlers), logging.raiseExceptions, threading.excepthook),
        *(warnings.showwarning, warnings.formatwarning, umask, environment),
        *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)),
        *(torch.random.get_rng_state().tolist(), torch.are_deterministic_algorithms_enabled()),
    ]


@pytest.fixture
def unusual_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What a notebook may have set."""
    monkeypatch.setattr(logging.getLogger(), "level", logging.ERROR)
    before = os.umask(0o027), torch.get_num_threads()
    torch.set_num_threads(2)
    yield state_of_process()
    os.umask(before[0])
    torch.set_num_threads(before[1])


@pytest.mark.parametrize("fails", [False, True])
def test_the_process_is_as_it_was_before(tmp_path: Path, unusual_process: list[object], fails: bool) -> None:
    if fails:
        with pytest.raises(ConfigError):
            run(tmp_path, rounds=-1)
    else:
        run(tmp_path)
    assert state_of_process() == unusual_process


@pytest.fixture
def stumbling() -> Any:
    """An attack of the notebook's own, which fails in its second round as long as it is not repaired."""

    class Stumbling(Attack):
        """Zero, or an error."""

        broken = True

        def craft(self, view: AttackView) -> torch.Tensor:
            if Stumbling.broken and view.facts.round == 1:
                raise RuntimeError("stumbled")
            return torch.zeros_like(view.own.tensor())

    attacks.register("stumbling")(Stumbling)
    yield Stumbling
    del attacks._entries["stumbling"]


def test_a_failed_run_says_so_and_can_be_resumed(tmp_path: Path, stumbling: Any) -> None:
    settings = {"attack": {"name": "stumbling", "num_byzantine": 1}, "run_name": "run", "checkpoint.every": 1}
    with pytest.raises(RuntimeError, match="stumbled"):
        run(tmp_path, **settings)
    failed = fedsim.load_run(tmp_path / "run")
    assert failed.status == "failed"
    assert "stumbled" in failed.summary["reason"]
    assert len(failed.metrics) == 1
    stumbling.broken = False
    resumed = fedsim.run({"output_dir": str(tmp_path), **TINY}, settings, resume=True, quiet=True)
    assert (resumed.directory, resumed.status, len(resumed.metrics)) == (tmp_path / "run", "completed", 2)
    whole = run(tmp_path, **{**settings, "run_name": "whole"})
    assert checksum(resumed.directory) == checksum(whole.directory)


def test_an_interrupted_run_raises_and_goes_on(tmp_path: Path, stumbling: Any) -> None:
    stumbling.broken = False

    def interrupt(self: Attack, view: AttackView) -> torch.Tensor:
        if view.facts.round == 1 and not (tmp_path / "interrupted").exists():
            (tmp_path / "interrupted").touch()
            os.kill(os.getpid(), signal.SIGINT)
        return torch.zeros_like(view.own.tensor())

    stumbling.craft = interrupt
    settings = {"attack": {"name": "stumbling", "num_byzantine": 1}, "run_name": "run", "rounds": 4}
    with pytest.raises(KeyboardInterrupt, match="nothing is lost"):
        run(tmp_path, **settings)
    assert fedsim.load_run(tmp_path / "run").status == "interrupted"
    resumed = fedsim.run({"output_dir": str(tmp_path), **TINY}, settings, resume=True, quiet=True)
    assert resumed.status == "completed"
    assert resumed.metrics["round"].tolist() == [1, 2, 3, 4]


def test_a_plugin_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from fedsim.aggregators import Aggregator, aggregators\n"
        "@aggregators.register('of_a_notebook')\n"
        "class OfANotebook(Aggregator):\n"
        "    '''The first row.'''\n"
        "    def aggregate(self, updates, context):\n"
        "        return updates.row(0).clone()\n"
    )
    config = {"output_dir": str(tmp_path), **TINY}
    result = fedsim.run(config, {"aggregator": "of_a_notebook"}, plugins=[file], quiet=True)
    assert result.settings["aggregator"]["name"] == "of_a_notebook"
    assert list(result.environment["plugins"]) == [str(file)]


def test_one_word_and_one_plugin_need_no_list(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("")
    result = fedsim.run({"output_dir": str(tmp_path), **TINY}, "rounds=1", plugins=str(file), quiet=True)
    assert result.settings["rounds"] == 1
    assert list(result.environment["plugins"]) == [str(file)]


def test_calls_from_several_threads_take_turns(tmp_path: Path) -> None:
    """Dropout draws from torch's global generator, so that runs at once would disturb each other."""
    model = {"name": "small_cnn", "width": 2, "hidden": 4, "dropout": 0.5}
    names = [f"run{number}" for number in range(4)]

    def start(name: str) -> None:
        run(tmp_path, run_name=name, model=model, **{"data.shape": [1, 28, 28]})

    start("alone")
    threads = [threading.Thread(target=start, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {checksum(tmp_path / name) for name in names} == {checksum(tmp_path / "alone")}


def test_a_component_that_exits_fails_the_run_and_not_the_script(tmp_path: Path, stumbling: Any) -> None:
    def leave(self: Attack, view: AttackView) -> torch.Tensor:
        sys.exit(0)

    stumbling.craft = leave
    with pytest.raises(ComponentError, match=r"sys\.exit\(0\)"):
        run(tmp_path, attack={"name": "stumbling", "num_byzantine": 1}, run_name="run")
    failed = fedsim.load_run(tmp_path / "run")
    assert failed.status == "failed"
    assert "sys.exit(0)" in failed.summary["reason"]


def test_quiet_shows_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    assert capfd.readouterr() == ("", "")
    fedsim.run({"output_dir": str(tmp_path), **TINY})
    assert "round 2/2" in capfd.readouterr().err


def test_names_that_do_not_exist_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="runn"):
        fedsim.runn  # noqa: B018 - that it raises is the point
