"""The client of Flower's simulation, in a module of its own: Ray's processes import it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from time import perf_counter

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

from fedsim.benchmark.peers.task import Data, Task, small_cnn


@lru_cache(maxsize=1)
def _data(folder: Path) -> Data:
    """Read once in each of Ray's processes."""
    torch.set_num_threads(1)
    return Data.load(folder)


def client_app(folder: Path) -> ClientApp:
    """The client of the task of the folder."""

    def train(message: Message, context: Context) -> Message:
        start, task, data = perf_counter(), Task.load(folder), _data(folder)
        model = small_cnn()
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        indices = data.client_indices[int(context.node_config["partition-id"])]
        optimizer = torch.optim.SGD(model.parameters(), lr=task.learning_rate)
        images, labels = data.train
        for batch in indices[torch.randperm(len(indices))].split(task.batch_size)[: task.steps]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
        arrays = ArrayRecord(model.state_dict())
        metrics = MetricRecord({"num-examples": len(indices), "seconds": perf_counter() - start})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    app = ClientApp()
    app.train()(train)
    return app
