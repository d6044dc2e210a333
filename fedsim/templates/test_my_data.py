"""Tests of my_data.py: pytest test_my_data.py."""

from pathlib import Path

import torch

from fedsim.data.sources import sources
from fedsim.main import main
from fedsim.plugins import load_plugin

PLUGIN = Path(__file__).with_name("my_data.py")
load_plugin(PLUGIN)


def test_it_is_the_same_in_every_run() -> None:
    first, second = (sources.build("my_data", samples=90).load(None) for _ in range(2))
    one, other = (torch.stack(list(splits.train.pick(torch.arange(90)))) for splits in (first, second))
    assert torch.equal(one, other)
    assert (len(first.train), len(first.test)) == (90, 30)


def test_every_room_has_every_class() -> None:
    train = sources.build("my_data").load(None).train
    pairs = set(zip(train.columns["room"], train.labels.tolist(), strict=True))
    assert len(pairs) == 8 * 3


def test_a_run_uses_it(tmp_path: Path) -> None:
    data = "data={name: my_data, samples: 300, partition: {name: natural}}"
    options = [data, "model={name: mlp}", "rounds=2", f"output_dir={tmp_path}"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
