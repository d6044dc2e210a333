"""Low-rank adapters, against their formula."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fedsim
from fedsim.models import Task, models
from fedsim.models.adapters import add_adapters, require_peft
from fedsim.updates.model_rows import ModelRows, trainable_parameters
from support.timm_weights import refused

TASK = Task(input_shape=(3, 32, 32), num_classes=5)
HEAD = {"head.weight", "head.bias"}
OPTIONS: dict[str, Any] = {"rank": 2, "alpha": 6.0, "dropout": 0.0, "targets": [], "train_head": True}


def transformer() -> nn.Module:
    return models.build("timm", architecture="test_vit").build_for(TASK)


def adapted(model: nn.Module, head: set[str] = HEAD, **options: Any) -> nn.Module:
    pytest.importorskip("peft", reason="peft is not installed")
    add_adapters(model, head, **{**OPTIONS, **options})
    return model


def filled(model: nn.Module) -> nn.Module:
    """Adapters as after training: their second matrices are no longer zero."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    return model


def test_the_head_of_a_vision_transformer_is_found() -> None:
    assert set(models.build("timm", architecture="test_vit").head(TASK)) == HEAD


@torch.no_grad()
def test_a_layer_computes_what_the_formula_says() -> None:
    plain: Any = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))
    weight, bias, inputs = plain[0].weight.clone(), plain[0].bias.clone(), torch.randn(3, 4)
    model: Any = filled(adapted(plain, {"2.weight", "2.bias"}))
    a, b = model[0].lora_A.default.weight, model[0].lora_B.default.weight
    assert (a.shape, b.shape) == ((2, 4), (6, 2))
    expected = inputs @ (weight + 6.0 / 2 * b @ a).T + bias
    assert torch.allclose(model[0](inputs), expected, atol=1e-5)


def test_only_adapters_and_the_head_are_rows_and_at_first_nothing_changes() -> None:
    model, inputs = transformer().eval(), torch.randn(2, 3, 32, 32)
    before, layers = model(inputs), 6 * 4  # blocks, each with qkv, proj, fc1 and fc2
    linear = [layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and name != "head"]
    head = sum(parameter.numel() for parameter in model.get_submodule("head").parameters())
    expected = sum(2 * (layer.in_features + layer.out_features) for layer in linear) + head
    rows = ModelRows(adapted(model))
    assert len(linear) == layers
    assert rows.layout.size == expected
    assert torch.equal(model.eval()(inputs), before)


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        (["qkv"], {"attn.qkv"}),
        (["attn.proj", "fc1"], {"attn.proj", "mlp.fc1"}),
        (["blocks.*.mlp.*"], {"mlp.fc1", "mlp.fc2"}),
    ],
)
def test_targets_are_last_parts_or_patterns(targets: list[str], layers: set[str]) -> None:
    trained = trainable_parameters(adapted(transformer(), targets=targets, train_head=False))
    assert {name.split(".lora_")[0] for name in trained} == {
        f"blocks.{n}.{layer}" for n in range(6) for layer in layers
    }


def test_a_target_that_matches_nothing_suggests_the_nearest() -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    message = refused("adapter.targets.1", lambda: adapted(transformer(), targets=["qkv", "fc3"]))
    assert "did you mean 'fc2'?" in message


def test_convolutions_get_adapters_where_they_are_named_only() -> None:
    def network() -> nn.Module:
        return models.build("resnet_cifar", depth=8).build_for(TASK)

    message = refused("adapter.targets", lambda: adapted(network(), {"fc.weight", "fc.bias"}))
    assert "conv" in message
    model = adapted(network(), {"fc.weight", "fc.bias"}, targets=["stage3.*"])
    assert not ModelRows(model).buffer_layout.size  # frozen batch normalisation keeps its statistics
    assert all(name.startswith(("stage3.", "fc.")) for name in trainable_parameters(model))


def test_adapters_act_in_evaluation_too() -> None:
    """torch's encoder layers have a fast path there, which reads the weights and calls no layer."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model, inputs = nn.Sequential(nn.TransformerEncoder(layer, 1)), torch.randn(2, 3, 8)
    adapted(model, set())
    filled(model)
    trained = trainable_parameters(model)
    assert {name.split(".")[3] for name in trained} == {"linear1", "linear2"}  # attention reads its own weights, too
    outputs: list[Tensor] = []
    for mode in (True, False):
        with torch.no_grad():
            outputs.append(model.train(mode)(inputs))
    assert torch.allclose(outputs[0], outputs[1], atol=1e-5)


def test_the_draws_come_from_the_global_generator() -> None:
    states = []
    for seed in (0, 0, 1):
        model = transformer()
        torch.manual_seed(seed)
        states.append(adapted(model).state_dict()["blocks.0.attn.qkv.lora_A.default.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_a_run_sends_adapters_and_head_and_its_checkpoint_is_a_model_again(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="peft is not installed")
    settings: dict[str, Any] = {
        "data": {"name": "synthetic", "shape": [3, 32, 32], "num_train": 60, "num_test": 20},
        "model": {"name": "timm", "architecture": "test_vit", "adapter": {"rank": 2, "targets": ["qkv"]}},
        "clients": {"count": 3, "local_steps": 1},
        "aggregator": {"name": "cwmed"},
        "output_dir": str(tmp_path),
        "rounds": 1,
    }
    settings["model"]["freeze"] = ["blocks.0.*"]
    done = fedsim.run(settings, quiet=True)
    sent = {f"blocks.{n}.attn.qkv.lora_{part}.default.weight" for n in range(1, 6) for part in "AB"} | HEAD
    assert set(done.parameters()) == sent
    model, again = done.model(), fedsim.load_run(done.directory).model()
    inputs = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(inputs), again(inputs))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in done.parameters().items())
    assert model.state_dict()["blocks.1.attn.qkv.lora_B.default.weight"].any()  # trained: it began as zero


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install 'fedsim-byzantine[adapters]'" in refused("adapter", require_peft)
