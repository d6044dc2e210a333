"""What ``--check`` tries of a run: its data, its partition, and whether what is large fits into memory."""

from dataclasses import replace
from math import prod

import torch
from torch import nn

from fedsim.build.components import Components
from fedsim.build.data import imbalanced, partition, task_of
from fedsim.build.device import computes_on_gpu
from fedsim.build.model import build_module
from fedsim.data import Samples, Splits
from fedsim.errors import keys_under
from fedsim.machine import require_memory
from fedsim.models import Task
from fedsim.training.vectorized_checks import require_vectorizable

AT_ONCE = 10**7
"""Classes times samples and clients for which a partition is tried: it takes a second at most."""

NUMBER = 4
"""Bytes of a parameter."""


def rehearse(components: Components) -> None:
    """Look at the data without decoding any, and try what a run makes of them as far as that takes no time.

    Raises:
        ConfigError: what a run would refuse; FedsimWarnings are of what it would warn of.
    """
    source, root = components.source, components.data_root
    with keys_under("data"):
        sides = source.survey(root)
        splits = source.sketch(root)
    if splits is not None:
        splits = replace(splits, train=imbalanced(components, splits.train))
        sides = splits.train, splits.test
    elif sides is not None:
        sides = imbalanced(components, sides[0]), sides[1]
    if sides is not None:
        _try_partition(components, *sides)
    if splits is not None:
        view = components.view(components.statistics(splits))
        with keys_under("data"):
            input_shape = view.shape(splits)
        check_batches(components, splits, input_shape)
        check_model(components, task_of(splits, input_shape))
        components.metrics.check(splits.num_classes)


def _try_partition(components: Components, train: Samples, test: Samples) -> None:
    clients = components.config.clients.count
    components.partitioner.require_enough(len(train), clients)
    if len(train.labels.unique()) * (len(train) + clients) <= AT_ONCE:
        partition(components, train, test)


def check_batches(components: Components, splits: Splits, input_shape: tuple[int, ...]) -> None:
    """ConfigError if the inputs of a batch do not fit into memory."""
    config = components.config
    sizes = {
        "clients.batch_size": min(config.clients.batch_size, len(splits.train)),
        "evaluation.batch_size": min(config.evaluation.batch_size, len(splits.test)),
    }
    for key, size in sizes.items():
        what = f"batches of {size} inputs of {list(input_shape)}"
        require_memory(NUMBER * size * prod(input_shape), key, what, "take smaller batches or inputs")


def check_model(components: Components, task: Task) -> None:
    """ConfigError if the model cannot be built, or if it or its updates do not fit into memory."""
    config = components.config
    with keys_under("model"):
        module = _without_memory(components, task)
    if config.clients_at_once > 1:
        require_vectorizable(module, task.input_shape, token_ids=task.vocabulary is not None)
    parameters = list(module.parameters())
    size = sum(parameter.numel() for parameter in parameters)
    what = f"{size} parameters and their gradients"
    require_memory(2 * NUMBER * size, "model", what, "take a smaller model")
    if computes_on_gpu(config.runtime):
        return  # updates lie in the GPU's memory, which may be that of another machine
    if config.server.sharded is True:
        return  # of several hosts each holds some columns of them
    size = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    clients = config.participants_per_round
    what = f"the updates of {clients} clients with {size} parameters each"
    remedy = "take fewer clients, a smaller clients.fraction or model, or server.sharded=true on several hosts"
    require_memory(NUMBER * clients * size, "clients.count", what, remedy)


def _without_memory(components: Components, task: Task) -> nn.Module:
    """The model with parameters that have a shape but no values, or with values where it insists on them."""
    try:
        with torch.device("meta"):
            return build_module(components, task, with_weights=False)
    except Exception:  # a model that looks at values, or a mistake, which then shows again
        return build_module(components, task, with_weights=False)
