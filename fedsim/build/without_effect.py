"""Warnings of settings that are valid and do nothing in the run that they are given for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fedsim.build.attack_plan import attack_key
from fedsim.build.device import computes_on_gpu
from fedsim.build.given_settings import given_settings
from fedsim.config.run import RunConfig
from fedsim.errors import FedsimWarning

if TYPE_CHECKING:
    from fedsim.build.components import Components


def warn_of_settings_without_effect(components: Components, given: Mapping[str, Any]) -> None:
    """FedsimWarning for each setting that the user gave and that does nothing.

    A default is no such setting: the ``config.yaml`` of a run, which may be run again, holds all of them.
    """
    config, plan, given = components.config, components.attack_plan, given_settings(given)
    for key in ("optimizer", "schedule", "proximal") if config.clients.send == "gradient" else ():
        if key in given.get("clients", {}):
            text = f"clients.{key} has no effect with clients.send: gradient (no local step is taken)"
            warnings.warn(text, FedsimWarning, stacklevel=2)
    if "interpolation" in given.get("data", {}) and config.data.resize is None and config.data.resolution is None:
        text = "data.interpolation has no effect without data.resize or data.resolution: no image is scaled"
        warnings.warn(text, FedsimWarning, stacklevel=2)
    for text in _without_effect_here(config):
        warnings.warn(text, FedsimWarning, stacklevel=2)
    for position, section in enumerate(config.attack):
        if section.first_round > config.rounds:
            key = attack_key(config.attack, position)
            text = f"{key}.first_round: {section.first_round} is after the last round, {config.rounds}: it never acts"
            warnings.warn(text, FedsimWarning, stacklevel=2)
    if all(section.name == "none" for section in config.attack) and plan.ever:
        warnings.warn(
            f"attack.name is none: the Byzantine clients {list(plan.ever)} behave", FedsimWarning, stacklevel=2
        )


def _without_effect_here(config: RunConfig) -> Iterator[str]:
    """What there is to say of settings of the run's speed."""
    runtime = config.runtime
    on_gpu = computes_on_gpu(runtime)
    if config.data.placement != "auto" and not on_gpu:
        yield f"data.placement: {config.data.placement} has no effect on a CPU, where clients compute"
    if config.clients.vectorize > 1 and config.clients_at_once == 1:
        yield f"clients.vectorize: {config.clients.vectorize} has no effect with one client in a round"
    if runtime.matmul != "highest" and not on_gpu:
        yield f"runtime.matmul: {runtime.matmul} has no effect on a CPU, where clients compute"
    if runtime.compile_mode != "default" and not runtime.compile:
        yield f"runtime.compile_mode: {runtime.compile_mode} has no effect without runtime.compile: true"
    elif runtime.compile_mode != "default" and not on_gpu:
        yield f"runtime.compile_mode: {runtime.compile_mode} has no effect on a CPU, where clients compute"
