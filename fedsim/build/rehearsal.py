"""What ``--check`` tries of a run, so that mistakes show before any rank starts: data, partition, sizes of the model."""

from math import prod

import torch
from torch import nn

from fedsim.build.components import Components
from fedsim.build.data import RunData, distribute, partition
from fedsim.data import Samples
from fedsim.errors import keys_under
from fedsim.machine import require_memory
from fedsim.seeds import derive_seed, seeded
from fedsim.training.freezing import freeze

AT_ONCE = 10**8
"""Classes times samples and clients for which a partition is tried: it takes a second at most."""

NUMBER = 4
"""Bytes of a parameter."""


def rehearse(components: Components) -> None:
    """Look at the data without decoding any; where they load at once, build what a run makes of them.

    Raises:
        ConfigError: what a run would refuse; FedsimWarnings are of what it would warn of.
    """
    source, root = components.source, components.data_root
    with keys_under("data"):
        outline = source.survey(root)
    if outline is not None and _is_quick(components, outline[0]):
        partition(components, *outline)
    if not source.loads_at_once:
        return
    with keys_under("data"):
        splits = source.load(root)
    if _is_quick(components, splits.train):
        data = distribute(components, splits, components.statistics(splits))
        check_batches(components, data)
        check_model(components, data)


def _is_quick(components: Components, train: Samples) -> bool:
    classes = len(train.labels.unique())
    return classes * (len(train) + components.config.clients.count) <= AT_ONCE


def check_batches(components: Components, data: RunData) -> None:
    """ConfigError if the inputs of a batch do not fit into memory."""
    config = components.config
    sizes = {
        "clients.batch_size": min(config.clients.batch_size, max(data.sample_counts)),
        "evaluation.batch_size": min(config.evaluation.batch_size, len(data.splits.test)),
    }
    for key, size in sizes.items():
        what = f"batches of {size} inputs of {list(data.input_shape)}"
        require_memory(NUMBER * size * prod(data.input_shape), key, what, "take smaller batches or inputs")


def check_model(components: Components, data: RunData) -> None:
    """ConfigError if the model cannot be built, or it or its updates do not fit into memory; nothing of it is made."""
    config = components.config
    with keys_under("model"):
        module = _without_memory(components, data)
        freeze(module, config.model.freeze)
    parameters = list(module.parameters())
    size = sum(parameter.numel() for parameter in parameters)
    what = f"{size} parameters and their gradients"
    require_memory(2 * NUMBER * size, "model", what, "take a smaller model")
    if config.runtime.device == "cuda" or (config.runtime.device == "auto" and torch.cuda.is_available()):
        return  # updates lie in the GPU's memory, which may be that of another machine
    size = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    clients = config.participants_per_round
    what = f"the updates of {clients} clients with {size} parameters each"
    remedy = "take fewer clients, a smaller clients.fraction or a smaller model"
    require_memory(NUMBER * clients * size, "clients.count", what, remedy)


def _without_memory(components: Components, data: RunData) -> nn.Module:
    """The model with parameters that have a shape but no values, or with values where it insists on them."""
    build = components.model.build
    with seeded(derive_seed(components.config.seed, "model")):
        try:
            with torch.device("meta"):
                return build(data.input_shape, data.num_classes)
        except Exception:  # a model that looks at values, or a mistake, which then shows again
            return build(data.input_shape, data.num_classes)
