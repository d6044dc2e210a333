"""Whole runs against plain PyTorch, and every option of local training through main."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fedsim.build.components import build_components
from fedsim.config.run import parse_config
from fedsim.data.inputs import Inputs
from fedsim.main import main
from fedsim.seeds import derive_generator, derive_seed, seeded
from fedsim.training.client import LocalWork, batches
from fedsim.updates.model_rows import ModelRows
from support.forked_ranks import forked_ranks
from support.runs import final_state

DATA = "data={name: synthetic, num_train: 210, num_test: 50, num_classes: 4, shape: [1, 16, 16], spread: 2.0}"
MODEL = "model={name: small_cnn, width: 4, hidden: 8, batch_norm: true}"
COMMON = [DATA, MODEL, "attack=[]", "tracking.tensorboard=false", "clients.batch_size=16"]
SGD = "clients.optimizer={name: sgd, lr: 0.05}"


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def values_of(overrides: list[str]) -> dict[str, Any]:
    from fedsim.config.source import apply_overrides

    return apply_overrides({}, overrides)[0]


def plain_loop(overrides: list[str], rounds: int) -> torch.Tensor:
    """Parameters, then float buffers, after as many epochs in plain PyTorch, in the same order of samples."""
    components = build_components(parse_config(values_of(overrides)))
    splits = components.source.load(None)
    inputs, labels = Inputs(splits.train), splits.train.labels
    with seeded(derive_seed(0, "model")):
        model = components.model.build(splits.input_shape, splits.num_classes)
    work = LocalWork(epochs=1, steps=None, batch_size=16, send="delta", make_optimizer=components.client_optimizer)
    model.train()
    for epoch in range(rounds):
        optimizer = components.client_optimizer(list(model.parameters()))
        for batch in batches(len(labels), work, derive_generator(0, "batches", epoch, 0)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs.batch(batch)), labels[batch]).backward()
            optimizer.step()
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    return torch.cat([tensor.detach().flatten() for tensor in (*model.parameters(), *buffers)])


@pytest.mark.parametrize("optimizer", [SGD, "clients.optimizer={name: adamw, lr: 0.05}"])
@pytest.mark.parametrize("buffers", ["cwmed", "in_row"])
def test_one_client_alone_is_a_plain_pytorch_loop_bit_for_bit(tmp_path: Path, optimizer: str, buffers: str) -> None:
    """The large rate makes parameters shrink and change sign, where float32 differences are not exact."""
    alone = [*COMMON, optimizer, "clients.count=1", "aggregator={name: fedavg}", "rounds=6"]
    assert main([*alone, f"server.buffers={buffers}", f"output_dir={tmp_path}", "run_name=run"]) == 0
    state = final_state(tmp_path / "run", 6)
    assert torch.equal(state, plain_loop([*COMMON, optimizer], rounds=6))
    two = forked_ranks(2, *alone, f"server.buffers={buffers}", f"output_dir={tmp_path}", "run_name=two")
    assert two.status == 0, two.err
    assert torch.equal(state, final_state(tmp_path / "two", 6))


ONLY_ATTACKER = "attack={name: scaling, factor: 0.5, num_byzantine: 1, allow_byzantine_majority: true}"


@pytest.mark.parametrize("settings", ["clients.momentum=0.5", ONLY_ATTACKER])
def test_what_becomes_of_the_only_client_s_update_counts(tmp_path: Path, settings: str) -> None:
    """Half of the update: the global model is then not that of the client."""
    alone = [*COMMON, SGD, "clients.count=1", "aggregator={name: fedavg}", "rounds=1", f"output_dir={tmp_path}"]
    assert main([*alone, "clients.local_steps=1", "run_name=whole"]) == 0
    assert main([*alone, "clients.local_steps=1", "run_name=half", settings]) == 0
    with seeded(derive_seed(0, "model")):
        model = build_components(parse_config(values_of(COMMON))).model.build((1, 16, 16), 4)
    start = ModelRows(model).read()[0]
    whole, half = (final_state(tmp_path / name, 1)[: len(start)] for name in ("whole", "half"))
    torch.testing.assert_close(start - half, (start - whole) / 2, rtol=1e-4, atol=1e-7)


def run(folder: Path, name: str, *overrides: str) -> torch.Tensor:
    options = [*COMMON, SGD, "clients.count=3", "aggregator={name: cwmed}", "rounds=2", *overrides]
    assert main([*options, f"output_dir={folder}", f"run_name={name}"]) == 0
    return final_state(folder / name, 2)


def test_a_proximal_term_of_nothing_changes_nothing_and_a_strong_one_holds_clients_back(tmp_path: Path) -> None:
    without, none, strong = (
        run(tmp_path, name, *override)
        for name, override in (("a", ()), ("b", ("clients.proximal=0.0",)), ("c", ("clients.proximal=10.0",)))
    )
    assert torch.equal(without, none)
    norms = [sum(records(tmp_path / name)[0]["clients"]["update_norm"].values()) for name in ("a", "c")]
    assert norms[1] < norms[0]
    assert not torch.equal(without, strong)


def test_mixed_precision_stays_near(tmp_path: Path) -> None:
    exact = run(tmp_path, "float32")
    for amp in ("bfloat16", "float16"):
        near = run(tmp_path, amp, f"runtime.amp={amp}")
        assert not torch.equal(exact, near)
        torch.testing.assert_close(exact, near, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    "override",
    [
        "runtime.channels_last=true",
        "clients.clip_norm=0.1",
        "clients.micro_batches=4",
        "clients.loss={name: focal, gamma: 1.5, class_weights: client}",
        "clients.loss={name: cross_entropy, label_smoothing: 0.1, class_weights: global}",
        "clients.schedule={name: cosine, over: 10, warmup_rounds: 3}",
        "clients.schedule={name: steps, after: [1]}",
        "server.schedule={name: steps, after: [1]}",
        "server.optimizer={name: fedyogi, lr: 0.01}",
        "server.optimizer={name: fedadam, lr: 0.01, betas: [0.9, 0.99]}",
        "server.optimizer={name: fedadagrad, lr: 0.01}",
        "server.optimizer={name: sgd, lr: 1.0, momentum: 0.9}",
        "clients.momentum=0.9",
    ],
)
def test_every_option_runs_and_does_something(tmp_path: Path, override: str) -> None:
    assert not torch.equal(run(tmp_path, "plain"), run(tmp_path, "option", override))
    assert records(tmp_path / "option")[-1]["loss"] is not None


def test_compiling_what_no_client_has_is_warned_of_and_changes_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = run(tmp_path, "plain", "clients.batch_size=200")
    assert "runtime.compile" not in capfd.readouterr().err
    assert torch.equal(run(tmp_path, "compiled", "clients.batch_size=200", "runtime.compile=true"), plain)
    assert "runtime.compile has no effect: only whole batches are compiled" in capfd.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["clients.momentum=0.9", "clients.fraction=0.7", "attack={name: alie, num_byzantine: 1}"],
        [
            "server.optimizer={name: fedyogi, lr: 0.01}",
            "server.schedule={name: cosine, over: 4}",
            "clients.momentum=0.5",
        ],
    ],
)
def test_state_that_lasts_moves_with_its_client_to_other_ranks(tmp_path: Path, options: list[str]) -> None:
    common = [*COMMON, SGD, "clients.count=4", "aggregator={name: cwmed}", f"output_dir={tmp_path}", *options]
    assert main([*common, "rounds=4", "run_name=one"]) == 0
    assert forked_ranks(3, *common, "rounds=2", "run_name=moved").status == 0
    resumed = forked_ranks(2, *common, "rounds=4", "run_name=moved", "--resume")
    assert resumed.status == 0, resumed.err
    assert torch.equal(final_state(tmp_path / "one", 4), final_state(tmp_path / "moved", 4))
    assert [r["clients"] for r in records(tmp_path / "one")] == [r["clients"] for r in records(tmp_path / "moved")]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("clients.loss={name: focal, class_weights: [1.0]}", "clients.loss.class_weights: 1 weights for 4 classes"),
        ("clients.loss={name: hinge}", "clients.loss.name: unknown loss 'hinge'"),
        ("clients.schedule={name: cosin}", "clients.schedule.name: unknown schedule 'cosin'; did you mean 'cosine'?"),
        ("server.schedule={name: cosine, ower: 3}", "server.schedule.ower"),
        ("server.optimizer={name: fedyogi, tau: -1.0}", "server.optimizer"),
        ("model.freeze=['head.*']", "model.freeze.0: no parameter matches 'head.*'"),
        ("model.freeze=['*']", "model.freeze: nothing is left to train"),
        ("runtime.amp=int8", "runtime.amp"),
        ("model={name: timm, architecture: resnet_18}", "model.architecture: timm has no model 'resnet_18'"),
    ],
)
def test_a_mistake_about_training_is_one_sentence(
    tmp_path: Path, override: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMON, override, f"output_dir={tmp_path}"]) == 2
    err = capfd.readouterr().err
    assert says in err
    assert err.count("configuration error") == 1


def test_naming_the_gradient_makes_local_options_idle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["clients.send=gradient", "clients.local_steps=1", "clients.proximal=1.0", "rounds=1"]
    assert main([*COMMON, "clients.count=3", *options, f"output_dir={tmp_path}"]) == 0
    assert "clients.proximal has no effect" in capfd.readouterr().err


def test_rare_diagnoses_leave_gaps_in_the_records_and_the_model_as_it_is(tmp_path: Path) -> None:
    options = ["rounds=4", "attack={name: ipm, num_byzantine: 1}", "evaluation.every=2"]
    for name, every in (("often", 1), ("rarely", 3)):
        command = [*COMMON, SGD, "clients.count=3", *options, f"tracking.diagnose_every={every}"]
        assert main([*command, f"output_dir={tmp_path}", f"run_name={name}"]) == 0
    assert torch.equal(final_state(tmp_path / "often", 4), final_state(tmp_path / "rarely", 4))
    often, rarely = records(tmp_path / "often"), records(tmp_path / "rarely")
    for number, (whole, line) in enumerate(zip(often, rarely, strict=True), start=1):
        assert whole["server"]["aggregation_error"] is not None
        diagnosed = number in (3, 4)
        assert ("cosine_to_honest" in line["clients"]) == diagnosed
        assert (line["server"]["aggregation_error"] is not None) == diagnosed
        assert line["clients"]["update_norm"] == whole["clients"]["update_norm"]
        if diagnosed:
            assert (line["server"], line["clients"]) == (whole["server"], whole["clients"])
