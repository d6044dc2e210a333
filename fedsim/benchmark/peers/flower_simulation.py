"""Flower's simulation (Ray) with its trimmed mean; ``python -m ... FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedTrimmedAvg
from flwr.simulation import run_simulation

from fedsim.benchmark.peers.flower_client import client_app
from fedsim.benchmark.peers.task import Data, Task, Watch, accuracy, small_cnn


def server_app(folder: Path) -> ServerApp:
    """The server of the task of the folder; it evaluates."""
    task, data, watch, model = Task.load(folder), Data.load(folder), Watch(), small_cnn()

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        with watch("evaluate"):
            model.load_state_dict(arrays.to_torch_state_dict())
            watch.accuracies.append(accuracy(model, *data.test, task.evaluation_batch))
        return MetricRecord({"accuracy": watch.accuracies[-1]})

    def serve(grid: Grid, context: Context) -> None:
        torch.set_num_threads(1)
        strategy = FedTrimmedAvg(
            fraction_evaluate=0.0, min_available_nodes=task.clients, beta=task.trimmed / task.clients
        )
        initial = ArrayRecord(model.state_dict())
        result = strategy.start(grid, initial_arrays=initial, num_rounds=task.rounds, evaluate_fn=evaluate)
        assert len(result.train_metrics_clientapp) == task.rounds, "clients have failed"
        averages = [float(metrics["seconds"]) for metrics in result.train_metrics_clientapp.values()]
        watch.seconds["local work"] = [task.clients * average for average in averages]
        watch.save(folder)

    app = ServerApp()
    app.main()(serve)
    return app


def main(folder: Path) -> None:
    """Do the task of the folder."""
    clients = Task.load(folder).clients
    config = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server_app(folder), client_app(folder), clients, backend_config=config)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
