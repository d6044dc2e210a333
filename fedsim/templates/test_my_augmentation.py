"""Tests of my_augmentation.py: pytest test_my_augmentation.py."""

from pathlib import Path

import torch

from fedsim.data.augmentations import augmentations
from fedsim.main import main
from fedsim.plugins import load_plugin

PLUGIN = Path(__file__).with_name("my_augmentation.py")
load_plugin(PLUGIN)

WHITE = torch.full((50, 1, 2, 2), 200, dtype=torch.uint8)


def test_images_get_darker_each_by_its_own_factor() -> None:
    dark = augmentations.build("my_augmentation", least=0.5)(WHITE, torch.Generator().manual_seed(0))
    assert dark.dtype == torch.uint8
    assert 100 <= int(dark.min()) < int(dark.max()) <= 200
    assert all(len(image.unique()) == 1 for image in dark)


def test_a_run_uses_it(tmp_path: Path) -> None:
    options = ["data.augment=[{name: my_augmentation}]", "rounds=1", f"output_dir={tmp_path}"]
    few = ["clients={count: 2, local_steps: 2, batch_size: 8}", "attack={name: none}", "aggregator={name: fedavg}"]
    assert main(["--plugin", str(PLUGIN), *options, *few]) == 0
