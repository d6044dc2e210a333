"""ByzFL's ``run_benchmark`` on a grid of attacks and aggregators; ``python -m ... FOLDER JOBS``."""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsim.benchmark.peers.task import RESULT, Task, small_cnn

AGGREGATORS = ("TrMean", "Median", "Krum")

ATTACKS = ("InnerProductManipulation", "ALittleIsEnough", "Mimic")


def main(folder: Path, jobs: int) -> None:
    """Run the grid of the folder's task there."""
    from byzfl import run_benchmark
    from byzfl.fed_framework import models

    torch.set_num_threads(1)
    models.small_cnn = small_cnn
    os.chdir(folder)
    Path("config.json").write_text(json.dumps(config(Task.load(folder))), encoding="utf-8")
    run_benchmark(nb_jobs=jobs)
    last = [float(path.read_text().split(",")[-1]) for path in Path("results").glob("*/test_accuracy_*.txt")]
    assert len(last) == len(AGGREGATORS) * len(ATTACKS), "some cells are missing"
    Path(RESULT).write_text(json.dumps({"accuracy": sum(last) / len(last), "seconds": {}}), encoding="utf-8")


def config(task: Task) -> dict[str, Any]:
    """What ByzFL reads: clients that are Byzantine do not train, and the others share all samples."""
    learning = {"proportion_selected_clients": 1.0, "local_steps_per_client": task.steps}
    return {
        "benchmark_config": {
            "training_algorithm": {"name": "FedAvg", "parameters": learning},
            "nb_steps": task.rounds,
            "device": "cpu",
            "nb_training_seeds": 1,
            "nb_honest_clients": task.clients - task.trimmed,
            "f": [task.trimmed],
            "size_train_set": 1.0,
            "data_distribution": [{"name": "iid", "distribution_parameter": [1.0]}],
        },
        "model": {
            "name": "small_cnn",
            "dataset_name": "mnist",
            "nb_labels": 10,
            "loss": "CrossEntropyLoss",
            "learning_rate": task.learning_rate,
            "learning_rate_decay": 1.0,
            "milestones": [],
        },
        "aggregator": [{"name": name, "parameters": {}} for name in AGGREGATORS],
        "pre_aggregators": [],
        "honest_clients": {"momentum": 0.0, "weight_decay": 0.0, "batch_size": task.batch_size},
        "attack": [{"name": name, "parameters": {}} for name in ATTACKS],
        "evaluation_and_results": {
            "evaluation_delta": 1,
            "batch_size_evaluation": task.evaluation_batch,
            "evaluate_on_test": True,
            "store_per_client_metrics": False,
            "store_models": False,
            "data_folder": "data",
            "results_directory": "results",
        },
    }


def write_as_mnist(folder: Path, side: str, images: Tensor, labels: Tensor) -> None:
    """Digits [N, 28, 28] and labels [N], both uint8, in the files in which torchvision looks for MNIST.

    Args:
        side: ``train`` or ``t10k``.
    """
    raw = folder / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
        header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        (raw / f"{side}-{kind}-ubyte").write_bytes(header + values.numpy().tobytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
