"""Tests of my_model.py: pytest test_my_model.py."""

from pathlib import Path

import torch

from fedsim.main import main
from fedsim.models import models
from fedsim.plugins import load_plugin

PLUGIN = Path(__file__).with_name("my_model.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"


def test_it_gives_a_logit_for_each_class() -> None:
    model = models.build("my_model", width=8).build((3, 4, 4), num_classes=5)
    assert model(torch.zeros(2, 3, 4, 4)).shape == (2, 5)


def test_its_layers_begin_with_the_input() -> None:
    model = models.build("my_model", width=8, depth=1).build((3, 4, 4), num_classes=5)
    assert sum(parameter.numel() for parameter in model.parameters()) == (48 + 1) * 8 + 2 * 8 + 9 * 8 + 9 * 5


def test_a_run_uses_it(tmp_path: Path) -> None:
    model = "model={name: my_model, width: 16}"
    options = [DATA, model, "rounds=2", f"output_dir={tmp_path}"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
