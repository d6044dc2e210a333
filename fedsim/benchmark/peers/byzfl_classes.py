"""ByzFL's clients and server, in the loop of its own ``start_training`` (FedAvg); ``python -m ... FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from byzfl import Client, Server
from byzfl.fed_framework import models
from torch.utils.data import DataLoader, TensorDataset

from fedsim.benchmark.peers.task import Data, Task, Watch, small_cnn


def main(folder: Path) -> None:
    """Do the task of the folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task, data, watch = Task.load(folder), Data.load(folder), Watch()
    models.small_cnn = small_cnn  # where ByzFL looks its models up
    common = {
        "model_name": "small_cnn",
        "device": "cpu",
        "optimizer_name": "SGD",
        "learning_rate": task.learning_rate,
        "weight_decay": 0.0,
        "milestones": [],
        "learning_rate_decay": 1.0,
    }
    clients = [_client(data, indices, task, common) for indices in data.client_indices]
    server = Server(
        {
            **common,
            "test_loader": DataLoader(TensorDataset(*data.test), batch_size=task.evaluation_batch),
            "aggregator_info": {"name": "TrMean", "parameters": {"f": task.trimmed}},
            "pre_agg_list": [],
        }
    )
    for _ in range(task.rounds):
        with watch("local work"):
            state = server.get_dict_parameters()
            for client in clients:
                client.set_model_state(state)
                client.compute_model_update(task.steps)
        with watch("aggregate"):
            server.update_model_with_weights([client.get_flat_parameters() for client in clients])
        with watch("evaluate"):
            watch.accuracies.append(server.compute_test_accuracy())
    watch.save(folder)


def _client(data: Data, indices: torch.Tensor, task: Task, common: dict[str, Any]) -> Any:
    """Whole batches only: then a pass is a round, as everywhere."""
    samples = TensorDataset(*(of_all[indices] for of_all in data.train))
    return Client(
        {
            **common,
            "loss_name": "CrossEntropyLoss",
            "LabelFlipping": False,
            "nb_labels": 10,
            "momentum": 0.0,
            "training_dataloader": DataLoader(samples, batch_size=task.batch_size, shuffle=True, drop_last=True),
            "store_per_client_metrics": False,
        }
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
