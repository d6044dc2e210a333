"""Checkpoints in other programs, as docs/run_directory.md says, and those of the form before."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fedsim.main import main
from fedsim.run_directory.checkpoint import _checksum, unpack
from support.launch import ROOT
from support.runs import final_state

PAGE = (ROOT / "docs" / "run_directory.md").read_text(encoding="utf-8")
LINES = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
SMALL = [
    "rounds=10",
    "checkpoint.every=10",
    "clients.local_steps=1",
    "tracking.tensorboard=false",
    "evaluation.every=10",
]


def test_the_documented_lines_load_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*SMALL, f"output_dir={tmp_path / 'runs'}"]) == 0
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(LINES, names)
    own = torch.cat([parameter.detach().reshape(-1) for parameter in names["model"].parameters()])
    assert torch.equal(own, final_state(tmp_path / "runs" / "mnist5k-fang-fedseca-seed0", 10))
    assert names["named"].keys() == names["model"].state_dict().keys()


def numbered(path: Path) -> None:
    """Write a checkpoint again as fedsim-3 did: numbered tensors, the global model flat."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors, tree = load_file(path), json.loads(metadata["state"])
    names = list(tensors)
    state = unpack(tree, tensors)
    flat = torch.cat([tensor.reshape(-1) for tensor in state["model"].values()])
    numbers = {name: str(number + 1) for number, name in enumerate(names)}
    text = json.dumps(tree["items"][1][1])
    for name, number in numbers.items():
        text = text.replace(json.dumps({"tensor": name}), json.dumps({"tensor": number}))
    old = {"items": [["state", {"tensor": "0"}], ["server", json.loads(text)]]}
    kept = {number: tensors[name] for name, number in numbers.items() if name.startswith("server.")} | {"0": flat}
    written = json.dumps(old)
    save_file(kept, path, {**metadata, "format": "fedsim-3", "state": written, "checksum": _checksum(written, kept)})


def test_a_checkpoint_of_the_form_before_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    few = ["checkpoint.every=1", "clients.local_steps=1", "tracking.tensorboard=false", f"output_dir={tmp_path}"]
    batch_norm = "model={name: small_cnn, width: 4, hidden: 8, batch_norm: true}"
    for name in ("new", "old"):
        assert main([*few, batch_norm, f"run_name={name}", "rounds=2"]) == 0
    numbered(tmp_path / "old" / "checkpoints" / "round_000002.safetensors")
    for name in ("new", "old"):
        assert main([*few, batch_norm, f"run_name={name}", "rounds=3", "--resume"]) == 0
    assert torch.equal(final_state(tmp_path / "new", 3), final_state(tmp_path / "old", 3))
