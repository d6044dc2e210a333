"""Runs that freeze part of a model or start from weights in a file."""

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

import fedsim.main
from fedsim.build.run import open_run
from support.forked_ranks import forked_ranks
from support.runs import final_state
from support.small_cnn import CNN_HEAD, CNN_ROW
from support.timm_weights import State, differing, of_timm, written

SMALL = [
    "data={name: synthetic, num_train: 120, num_test: 40, num_classes: 4, shape: [3, 16, 16]}",
    "attack=[]",
    "clients={count: 4, batch_size: 8, local_steps: 2}",
    "aggregator={name: fedavg}",
    "tracking.tensorboard=false",
    "rounds=2",
]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, State]]:
    """The models of runs in this process, and their tensors as they were before the first round."""
    seen: list[tuple[nn.Module, State]] = []

    def spy(*arguments: Any, **options: Any) -> object:
        run = open_run(*arguments, **options)
        model = run.simulation.model.rows.model
        seen.append((model, {name: tensor.clone() for name, tensor in model.state_dict().items()}))
        return run

    monkeypatch.setattr(fedsim.main, "open_run", spy)
    return seen


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "times"} for line in lines]


def test_a_run_leaves_frozen_tensors_untouched_and_sends_only_the_others(
    tmp_path: Path, opened: list[tuple[nn.Module, State]]
) -> None:
    model_of = "model={{name: small_cnn, width: 4, hidden: 16, batch_norm: true, freeze: [{}]}}"
    for name, patterns, row, buffers in (("all", "", CNN_ROW, 24), ("head", "0.*", CNN_HEAD, 0)):
        arguments = [*SMALL, model_of.format(f"'{patterns}'" if patterns else ""), f"output_dir={tmp_path}"]
        assert fedsim.main.main([*arguments, f"run_name={name}"]) == 0
        said = (tmp_path / name / "logs" / "rank_0.log").read_text()
        assert f"update vector of {row:,} parameters and {buffers} buffer values".replace(",", " ") in said
        assert len(final_state(tmp_path / name, 2)) == row + buffers
        model, before = opened[-1]
        changed = differing(before, model.state_dict())
        head = {f"{layer}.{kind}" for layer in (1, 4) for kind in ("weight", "bias")}
        assert changed == head if patterns else changed > head | {"0.1.running_mean", "0.5.running_var", "0.0.weight"}


def test_a_model_whose_batch_norm_is_all_frozen_has_no_buffers_to_aggregate(tmp_path: Path) -> None:
    model = "model={name: small_cnn, width: 4, hidden: 16, batch_norm: true, freeze: ['0.*']}"
    for buffers in ("in_row", "cwmed", "mean"):
        for aggregator in ("cwmed", "fedavg"):
            arguments = [*SMALL, model, f"server.buffers={buffers}", f"aggregator={{name: {aggregator}}}"]
            names = [f"output_dir={tmp_path}", f"run_name={buffers}-{aggregator}"]
            assert fedsim.main.main([*arguments, *names]) == 0
            state = final_state(tmp_path / f"{buffers}-{aggregator}", 2)
            assert len(state) == CNN_HEAD
            assert torch.equal(state, final_state(tmp_path / f"in_row-{aggregator}", 2))


def test_a_run_starts_from_the_file(tmp_path: Path) -> None:
    """Clients that do not move leave the parameters as they came."""
    state = of_timm("test_resnet", 4)
    arguments = [*SMALL, f"model={{name: timm, architecture: test_resnet, weights: {written(tmp_path, state)}}}"]
    names = [f"output_dir={tmp_path}", "run_name=still", "clients.optimizer={name: sgd, lr: 0.0, momentum: 0.0}"]
    assert fedsim.main.main([*arguments, *names]) == 0
    parameters = [
        state[name].flatten() for name, _ in timm.create_model("test_resnet", num_classes=4).named_parameters()
    ]
    final = final_state(tmp_path / "still", 2)
    assert torch.equal(final[: sum(map(len, parameters))], torch.cat(parameters))


@pytest.mark.parametrize("more", [[], ["model.freeze=['conv1*','bn1*','layer*']"], ["runtime.channels_last=true"]])
def test_every_rank_has_the_weights_of_the_file(
    tmp_path: Path, more: list[str], opened: list[tuple[nn.Module, State]]
) -> None:
    state = of_timm("test_resnet", 4)
    arguments = [
        *SMALL,
        f"model={{name: timm, architecture: test_resnet, weights: {written(tmp_path, state)}}}",
        f"output_dir={tmp_path}",
        *more,
    ]
    assert fedsim.main.main([*arguments, "run_name=one"]) == 0
    assert not differing(opened[0][1], state)
    two = forked_ranks(2, *arguments, "run_name=two")
    assert two.status == 0, two.err
    assert torch.equal(final_state(tmp_path / "one", 2), final_state(tmp_path / "two", 2))
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")
    if "freeze" in "".join(more):
        frozen = {name for name, parameter in opened[0][0].named_parameters() if not parameter.requires_grad}
        assert frozen
        assert not differing(state, opened[0][0].state_dict()) & frozen


@pytest.mark.parametrize("says", ["there is no file", "does not fit test_resnet"])
def test_a_mistake_in_the_weights_is_one_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], says: str
) -> None:
    path = written(tmp_path, of_timm("test_vit", 4))
    if says == "there is no file":
        path.unlink()
    model = f"model={{name: timm, architecture: test_resnet, weights: {path}}}"
    assert fedsim.main.main([*SMALL, model, f"output_dir={tmp_path}"]) == 2
    err = capfd.readouterr().err
    assert err.count("configuration error: model.weights: ") == 1
    assert says in err
    assert "Traceback" not in err
