"""Weights as training programs leave them: behind prefixes, inside wrappers, beside metadata."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

from support.timm_weights import RESNET_HEAD, State, differing, loaded, of_timm, refused, timm_model

SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def state() -> State:
    return of_timm("test_resnet", 7)


def behind(prefix: str, state: Mapping[str, torch.Tensor]) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "model.module.", "module.backbone._orig_mod.", "net.net.", "_orig_mod.model.net.backbone.module."],
)
def test_prefixes_are_stripped_in_any_order_and_number(tmp_path: Path, state: State, prefix: str) -> None:
    assert not differing(loaded(saved(tmp_path, behind(prefix, state)), SHAPE, 7), state)
    save_file(behind(prefix, state), tmp_path / "weights.safetensors")
    own = loaded(tmp_path / "weights.safetensors", SHAPE, 5)
    assert all(torch.equal(own[name], state[name]) for name in own if own[name].shape == state[name].shape)
    assert sum(own[name].shape != state[name].shape for name in own) == 2  # the head


def test_weights_and_buffers_of_an_average_of_models(tmp_path: Path, state: State) -> None:
    model = timm_model("test_resnet").build(SHAPE, 7)
    model.load_state_dict(state)
    assert not differing(loaded(saved(tmp_path, AveragedModel(model).state_dict()), SHAPE, 7), state)


@pytest.mark.parametrize("wrapper", ["model_state", "state_dict_ema", "model_ema"])
def test_wrappers_are_taken_off(tmp_path: Path, state: State, wrapper: str) -> None:
    assert not differing(loaded(saved(tmp_path, {"best": 0.5, wrapper: behind("module.", state)}), SHAPE, 7), state)
    nested = {"model": {"state_dict": state, "epoch": 2}}
    assert not differing(loaded(saved(tmp_path, nested), SHAPE, 7), state)


@pytest.mark.parametrize("average", ["state_dict_ema", "model_ema"])
def test_an_average_is_taken_only_where_there_is_nothing_else(
    tmp_path: Path, state: State, average: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    assert not differing(loaded(saved(tmp_path, {average: other, "model_state": state}), SHAPE, 7), state)
    assert average not in caplog.text
    assert not differing(loaded(saved(tmp_path, {average: state}), SHAPE, 7), state)
    assert f"taking the averaged parameters, '{average}'" in caplog.text


def test_what_stands_beside_the_model_is_left_out_and_named(
    tmp_path: Path, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    more = {"criterion.scale": torch.ones(2), **{f"projector.{n}.weight": torch.ones(2) for n in range(4)}}
    content = {"state_dict": behind("backbone.", state) | more}
    assert not differing(loaded(saved(tmp_path, content), SHAPE, 7), state)
    assert "criterion.scale, projector.0.weight, projector.1.weight and 2 more left out" in caplog.text


def test_a_head_outside_the_prefix_is_kept(tmp_path: Path) -> None:
    state = of_timm("resnet18", 7)
    content = {name if name in RESNET_HEAD else f"backbone.{name}": tensor for name, tensor in state.items()}
    assert not differing(loaded(saved(tmp_path, content), SHAPE, 7, "resnet18"), state)


@pytest.mark.parametrize(
    "metadata",
    [
        argparse.Namespace(lr=0.1, folder=Path("runs"), names=["a"]),
        Path("/some/where"),
        np.float64(0.5),
        {"inner": [argparse.Namespace(a=argparse.Namespace())]},
    ],
)
def test_metadata_is_skipped_without_making_it(tmp_path: Path, state: State, metadata: object) -> None:
    path = saved(tmp_path, {"state_dict": state, "args": metadata, "version": 2})
    assert not differing(loaded(path, SHAPE, 7), state)


def test_metadata_that_is_a_program_in_disguise_does_not_run(tmp_path: Path, state: State) -> None:
    class Touch(argparse.Namespace):
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = saved(tmp_path, {"state_dict": state, "args": Touch()})
    refused("weights", lambda: loaded(path, SHAPE, 7))
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_refused_by_the_name_of_what_it_wants(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": torch.nn.Linear(2, 2)})
    message = refused("weights", lambda: loaded(path, SHAPE, 7))
    assert "it wants torch.nn.modules.linear.Linear; save plain tensors" in message


def test_what_is_too_many_is_named_beside_what_is_missing(tmp_path: Path, state: State) -> None:
    odd = [name for name in state if name.startswith("layer1.0")]
    content = {name.replace("layer1.0", "first.0"): tensor for name, tensor in state.items()}
    message = refused("weights", lambda: loaded(saved(tmp_path, content), SHAPE, 7))
    assert f"it lacks {', '.join(odd[:3])} and {len(odd) - 3} more and has first.0." in message
    assert len(message) < 500
