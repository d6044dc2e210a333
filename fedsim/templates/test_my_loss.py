"""Tests of my_loss.py: pytest test_my_loss.py."""

from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from fedsim.main import main
from fedsim.plugins import load_plugin
from fedsim.training.losses import losses

PLUGIN = Path(__file__).with_name("my_loss.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"

LOGITS, LABELS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.5, 3.0]]).double(), torch.tensor([0, 1])


def test_it_follows_the_formula() -> None:
    p = LOGITS.softmax(1)[[0, 1], LABELS]
    assert torch.allclose(losses.build("my_loss", q=0.5).of_samples(LOGITS, LABELS), (1 - p**0.5) / 0.5)


def test_a_small_q_is_cross_entropy() -> None:
    loss = losses.build("my_loss", q=1e-6).of_samples(LOGITS, LABELS)
    assert torch.allclose(loss, cross_entropy(LOGITS, LABELS, reduction="none"), rtol=1e-4)


def test_a_run_uses_it(tmp_path: Path) -> None:
    loss = "clients.loss={name: my_loss, class_weights: client}"
    options = [DATA, "model={name: mlp}", loss, "rounds=2", f"output_dir={tmp_path}"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
