"""What users run, and what it leaves behind."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fedsim.machine import count_cores
from fedsim.main import main
from support.forked_ranks import forked_ranks
from support.launch import ROOT, Finished, torchrun
from support.runs import final_state

BATCH_NORM = [
    "data={name: synthetic, num_train: 300, num_test: 100, num_classes: 4, shape: [1, 16, 16]}",
    "model={name: small_cnn, width: 4, hidden: 16, batch_norm: true, dropout: 0.3}",
    "clients.count=5",
    "attack={name: alie, num_byzantine: 2}",
    "aggregator={name: cwtm, num_byzantine: 2}",
    "rounds=2",
]


@pytest.fixture(scope="session")
def eight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, Path]:
    """The README's first line: eight ranks, everything default (but its own folder for results)."""
    folder = tmp_path_factory.mktemp("eight")
    return torchrun(8, f"output_dir={folder}", "checkpoint.keep=9"), folder / "mnist5k-fang-fedseca-seed0"


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on one rank, as far as its first checkpoint."""
    folder = tmp_path_factory.mktemp("one")
    assert main([f"output_dir={folder}", "run_name=one", "rounds=5"]) == 0
    return folder / "one"


def records_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_times(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "times"} for record in records]


def test_the_default_survives_the_attack_and_says_so(eight: tuple[Finished, Path]) -> None:
    done, run = eight
    assert done.status == 0, done.err
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "completed"
    assert summary["rounds"] == 10
    assert summary["final_accuracy"] > 0.85
    assert "it stayed near its best" in done.out
    assert str(run) in done.out
    assert f"final test accuracy {summary['final_accuracy']:.3f}" in done.out


def test_the_screen_shows_one_progress_and_nothing_of_other_ranks(eight: tuple[Finished, Path]) -> None:
    done, run = eight
    own = [line for line in done.err.splitlines() if line.startswith("fedsim: round ")]
    assert len(own) == 10
    assert "accuracy" in own[-1]
    assert "left" in own[-1]
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
    assert done.err.count("ranks give the same bits sooner") == (count_cores() in range(2, 8))
    assert len(list((run / "logs").glob("rank_*.log"))) == 8


def test_without_a_defence_the_default_collapses(tmp_path: Path, eight: tuple[Finished, Path]) -> None:
    assert main([f"output_dir={tmp_path}", "run_name=fedavg", "aggregator.name=fedavg", "rounds=5"]) == 0
    undefended, defended = records_of(tmp_path / "fedavg")[4]["accuracy"], records_of(eight[1])[4]["accuracy"]
    assert undefended < 0.15 < defended - 0.1  # ten classes: chance is 0.1


def test_the_run_directory_holds_what_it_should(eight: tuple[Finished, Path]) -> None:
    _, run = eight
    records = records_of(run)
    assert [record["round"] for record in records] == list(range(1, 11))
    last = records[-1]
    assert set(last["times"]) >= {"local_work", "gather", "attack", "aggregate", "broadcast", "evaluate"}
    assert len(last["per_class_recall"]) == 10
    assert set(last["clients"]["concordance_ratio"]) == set("01234567")
    assert last["server"]["aggregation_error_ratio"] > 0
    resolved = yaml.safe_load((run / "config.yaml").read_text())
    assert resolved["aggregator"]["sparsity"] == 0.9
    assert json.loads((run / "environment.json").read_text())["versions"]["torch"] == torch.__version__.split("+")[0]
    assert len(list((run / "checkpoints").glob("*.safetensors"))) == 2
    assert list(run.glob("events*"))


def test_nothing_is_left_in_shared_memory(eight: tuple[Finished, Path]) -> None:
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("fedsim")]


def test_eight_ranks_give_the_bits_of_one(eight: tuple[Finished, Path], one: Path) -> None:
    _, run = eight
    assert torch.equal(final_state(run, 5), final_state(one, 5))
    assert without_times(records_of(run))[:5] == without_times(records_of(one))


def test_four_ranks_stopped_and_resumed_on_two_give_the_bits_of_one(tmp_path: Path, one: Path) -> None:
    common = [f"output_dir={tmp_path}", "run_name=stopped", "checkpoint.keep=9"]
    assert forked_ranks(4, *common, "rounds=3").status == 0
    resumed = forked_ranks(2, *common, "rounds=5", "--resume")
    assert resumed.status == 0, resumed.err
    assert "resumed after round 3" in resumed.err
    assert torch.equal(final_state(tmp_path / "stopped", 5), final_state(one, 5))
    records = records_of(tmp_path / "stopped")
    assert without_times(records) == without_times(records_of(one))


@pytest.mark.parametrize("buffers", ["cwmed", "in_row"])
def test_dropout_and_batch_norm_give_the_same_bits_on_one_and_on_four_ranks(tmp_path: Path, buffers: str) -> None:
    arguments = [f"output_dir={tmp_path}", f"server.buffers={buffers}", *BATCH_NORM]
    assert main([*arguments, "run_name=one"]) == 0
    assert main([*arguments, "run_name=again"]) == 0
    four = forked_ranks(4, *arguments, "run_name=four")
    assert four.status == 0, four.err
    state = final_state(tmp_path / "one", 2)
    assert torch.equal(state, final_state(tmp_path / "again", 2))
    assert torch.equal(state, final_state(tmp_path / "four", 2))
    assert state.isfinite().all()


def test_a_second_run_never_overwrites_a_first(tmp_path: Path) -> None:
    arguments = [f"output_dir={tmp_path}", *BATCH_NORM, "rounds=1", "run_name=same"]
    assert main(arguments) == 0
    before = (tmp_path / "same" / "metrics.jsonl").read_bytes()
    assert main(arguments) == 0
    assert (tmp_path / "same" / "metrics.jsonl").read_bytes() == before
    assert (tmp_path / "same-2" / "summary.json").exists()


def test_resume_refuses_another_configuration_and_knows_a_finished_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"output_dir={tmp_path}", *BATCH_NORM, "rounds=1", "run_name=same"]
    assert main(arguments) == 0
    assert main([*arguments, "--resume", "clients.optimizer.lr=0.5"]) == 2
    assert "clients.optimizer.lr" in capfd.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert "finished" in capfd.readouterr().err
    assert len(records_of(tmp_path / "same")) == 1


def test_partial_participation_and_more_ranks_than_clients(tmp_path: Path) -> None:
    arguments = [f"output_dir={tmp_path}", *BATCH_NORM, "clients.fraction=0.6", "aggregator={name: cwmed}"]
    assert main([*arguments, "run_name=one", "rounds=3"]) == 0
    spare = forked_ranks(6, *arguments, "run_name=six", "rounds=3")
    assert spare.status == 0, spare.err
    assert "1 spare rank" in spare.err
    assert torch.equal(final_state(tmp_path / "one", 3), final_state(tmp_path / "six", 3))
    assert all(len(record["clients"]["update_norm"]) == 3 for record in records_of(tmp_path / "one"))


def test_a_mistake_is_one_message_under_torchrun() -> None:
    done = torchrun(2, "attak.name=alie")
    assert done.status != 0
    assert len(re.findall("configuration error", done.err)) == 1
    assert "attak: unknown key" in done.err
    assert 'fedsim/main.py", line' not in done.err


def test_a_config_that_would_run_code_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("seed: !!python/object/apply:os.system ['true']\n")
    assert main(["--config", str(bad)]) == 2
    err = capfd.readouterr().err
    assert err.count("configuration error") == 1
    assert "python/object" in err


def test_a_mistake_exits_with_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rounds=-1"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_check_help_and_list_do_not_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", f"output_dir={tmp_path}"]) == 0
    assert main(["--help"]) == 0
    assert main(["--list"]) == 0
    assert "the configuration is valid" in capfd.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_plugin_brings_an_attack_and_an_aggregator(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from fedsim.aggregators import Aggregator, aggregators\n"
        "from fedsim.attacks import Attack, attacks\n"
        "@attacks.register('opposite')\n"
        "class Opposite(Attack):\n"
        "    'Minus the honest mean.'\n"
        "    def craft(self, view):\n"
        "        return -view.honest.tensor().mean(0)\n"
        "@aggregators.register('first')\n"
        "class First(Aggregator):\n"
        "    'The first row.'\n"
        "    def aggregate(self, updates, context):\n"
        "        return updates.row(0)\n"
    )
    names = [f"output_dir={tmp_path}", "run_name=mine", "attack={name: opposite, num_byzantine: 2}"]
    done = forked_ranks(1, "--plugin", str(plugin), *BATCH_NORM, *names, "aggregator={name: first}")
    assert done.status == 0, done.err
    broken = tmp_path / "broken.py"
    broken.write_text("x = 1\ny = 1 / 0\n")
    assert main(["--plugin", str(broken), "--check"]) == 2


def test_gradients_of_one_step_ignore_the_client_optimiser(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [f"output_dir={tmp_path}", *BATCH_NORM, "clients.send=gradient", "clients.local_steps=1"]
    assert main([*arguments, "run_name=a"]) == 0
    assert "clients.optimizer has no effect" not in capfd.readouterr().err  # its values are the defaults
    assert main([*arguments, "run_name=b", "clients.optimizer.lr=7.0"]) == 0
    assert "clients.optimizer has no effect" in capfd.readouterr().err
    assert torch.equal(final_state(tmp_path / "a", 2), final_state(tmp_path / "b", 2))


def test_every_config_says_how_to_run_it_and_is_valid() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        header = path.read_text().split("\nseed")[0]
        assert "fedsim/main.py" in header
        if "fedsim.prepare" not in header:  # those that need data: test_presets.py
            assert main(["--config", str(path), "--check"]) == 0
