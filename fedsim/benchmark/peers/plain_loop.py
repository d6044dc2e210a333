"""The floor: federated averaging as one writes it in plain PyTorch; ``python -m ... FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from fedsim.benchmark.peers.task import Data, Task, Watch, accuracy, small_cnn


def main(folder: Path) -> None:
    """Do the task of the folder."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task, data, watch = Task.load(folder), Data.load(folder), Watch()
    model = small_cnn()
    for _ in range(task.rounds):
        start = {name: value.clone() for name, value in model.state_dict().items()}
        with watch("local work"):
            trained = [_train(model, start, data, indices, task) for indices in data.client_indices]
        with watch("aggregate"):
            model.load_state_dict({name: _trimmed_mean([one[name] for one in trained], task) for name in start})
        with watch("evaluate"):
            watch.accuracies.append(accuracy(model, *data.test, task.evaluation_batch))
    watch.save(folder)


def _train(model: nn.Module, start: dict[str, Tensor], data: Data, indices: Tensor, task: Task) -> dict[str, Tensor]:
    model.load_state_dict(start)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=task.learning_rate)
    images, labels = data.train
    for batch in indices[torch.randperm(len(indices))].split(task.batch_size)[: task.steps]:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    return {name: value.clone() for name, value in model.state_dict().items()}


def _trimmed_mean(values: list[Tensor], task: Task) -> Tensor:
    ordered = torch.stack(values).sort(dim=0).values
    return ordered[task.trimmed : len(values) - task.trimmed].mean(dim=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
