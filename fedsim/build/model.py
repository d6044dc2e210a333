"""The model of a run, from its builder to what is trained of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fedsim.build.components import Components
from fedsim.errors import ConfigError
from fedsim.models import Task
from fedsim.models.adapters import add_adapters
from fedsim.seeds import derive_seed, seeded
from fedsim.training.freezing import freeze


def build_module(components: Components, task: Task, *, with_weights: bool) -> nn.Module:
    """The module as a run starts with it: adapters in their places, frozen what is not trained.

    Args:
        with_weights: whether they are read, if the model has some.

    Raises:
        ConfigError: a key of the section ``model``, without that prefix.
    """
    builder, config = components.model, components.config
    with seeded(derive_seed(config.seed, "model")):
        module = (builder.build_with_weights_for if with_weights else builder.build_for)(task)
        if builder.is_of_a_plugin():
            builder.try_out(module, task)
    adapter = config.model.adapter
    if adapter is not None:
        with seeded(derive_seed(config.seed, "adapters")):  # the same, whatever was drawn for the model itself
            add_adapters(
                module,
                builder.head(task),
                rank=adapter.rank,
                alpha=adapter.alpha,
                dropout=adapter.dropout,
                targets=adapter.targets,
                train_head=adapter.head,
            )
    freeze(module, config.model.freeze)
    return module


@contextmanager
def memory_errors_named() -> Iterator[None]:
    """ConfigError for what torch says in many ways where there is not enough memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if not (isinstance(error, MemoryError) or "allocate" in text or "out of memory" in text):
            raise
        raise ConfigError("", f"there is no memory for it: {text}", "take a smaller model") from error
