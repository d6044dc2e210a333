"""Settings that are right by themselves and wrong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedsim.errors import ConfigError
from fedsim.yaml_text import yaml_line

if TYPE_CHECKING:
    from fedsim.config.run import RunConfig, RuntimeSection


def check_combinations(config: RunConfig) -> None:
    """Refuse what cannot be run together.

    Raises:
        ConfigError: names one of the keys, and what to change.
    """
    if config.clients.send == "gradient" and config.clients.local_steps != 1:
        raise ConfigError("clients.send", "'gradient' is of one step", "set clients.local_steps: 1")
    stopping = config.stopping
    if stopping is not None and stopping.metric.startswith("validation.") and config.data.validation == 0:
        problem = f"'{stopping.metric}' needs validation samples, and none are kept"
        raise ConfigError("stopping.metric", problem, "set data.validation: 0.1")
    replays = config.runtime.compile and config.runtime.compile_mode == "reduce-overhead"
    if replays and config.clients.micro_batches > 1:
        # https://github.com/pytorch/pytorch/issues/169545
        problem = "with 'reduce-overhead' torch gives wrong gradients where clients.micro_batches adds them up"
        raise ConfigError("runtime.compile_mode", problem, "set clients.micro_batches: 1, or leave out the mode")
    if config.clients.vectorize > 1:
        _require_vectorizable(config.runtime)


def _require_vectorizable(runtime: RuntimeSection) -> None:
    for key in ("compile", "amp", "channels_last"):
        value, default = getattr(runtime, key), type(runtime).model_fields[key].default
        if value != default:
            problem = f"clients cannot be trained at once with runtime.{key}: {yaml_line(value)}"
            raise ConfigError("clients.vectorize", problem, "leave out one of the two")
