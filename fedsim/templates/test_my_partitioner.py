"""Tests of my_partitioner.py: pytest test_my_partitioner.py."""

from pathlib import Path

import torch

from fedsim.data.partitioners import partitioners
from fedsim.main import main
from fedsim.plugins import load_plugin

PLUGIN = Path(__file__).with_name("my_partitioner.py")
load_plugin(PLUGIN)

DATA = "data={name: synthetic, num_train: 200, num_test: 50, num_classes: 3, shape: [1, 6, 6]}"

LABELS = torch.arange(1000) % 10


def test_the_own_client_gets_its_share() -> None:
    partitioner = partitioners.build("my_partitioner", own=0.6)
    clients = partitioner.partition(LABELS, 10, torch.Generator().manual_seed(0))
    own = sum(int((LABELS[indices] == client).sum()) for client, indices in enumerate(clients))
    assert 0.6 < own / 1000 < 0.7  # 0.6, and a tenth of the rest


def test_a_share_of_one_separates_the_classes() -> None:
    partitioner = partitioners.build("my_partitioner", own=1.0)
    clients = partitioner.partition(LABELS, 10, torch.Generator().manual_seed(0))
    assert all(set(LABELS[indices].tolist()) == {client} for client, indices in enumerate(clients))


def test_a_run_uses_it(tmp_path: Path) -> None:
    partition = "data.partition={name: my_partitioner}"
    options = [DATA, "model={name: mlp}", partition, "rounds=2", f"output_dir={tmp_path}"]
    assert main(["--plugin", str(PLUGIN), *options]) == 0
