"""Which values an optimiser's arguments may have: torch takes many that make no sense."""

from typing import Any

from fedsim.errors import ConfigError
from fedsim.yaml_text import yaml_line

UP_TO_ONE = frozenset({"momentum", "dampening", "alpha", "rho"})
"""Weights of an average over steps."""

BELOW_ONE = frozenset({"betas"})

ASCENDING = frozenset({"step_sizes"})

LARGEST = 1e38
"""Of what float32 holds."""


def check_argument(name: str, value: Any, default: Any, optimizer: str) -> None:
    """Check a value by the argument's name, and by its default, which says of which kind it is.

    Args:
        name: of the argument.
        value: as the user gave it.
        default: in the signature of the optimiser.
        optimizer: its name.

    Raises:
        ConfigError: a switch that is no boolean, a number that is one, or a number beyond its limits.

    >>> check_argument("momentum", 1.5, 0.0, "sgd")
    Traceback (most recent call last):
    fedsim.errors.ConfigError: momentum: 1.5 is not a number from 0 to 1; sgd has 0.0 by default
    """
    wanted = _unmet(name, value, default)
    if wanted:
        usual = yaml_line(list(default) if isinstance(default, tuple) else default)
        raise ConfigError(name, f"{value!r} is not {wanted}", f"{optimizer} has {usual} by default")


def _unmet(name: str, value: Any, default: Any) -> str:
    """What the value should be and is not; empty if it is."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(default, tuple):
        return _unmet_of_list(name, value, default)
    if isinstance(default, int | float):
        return _unmet_of_number(name, value, default)
    return "" if value is None or isinstance(value, bool) else "true, false or null"


def _unmet_of_list(name: str, values: Any, defaults: tuple[float | None, ...]) -> str:
    if not isinstance(values, list | tuple) or len(values) != len(defaults):
        return f"a list of {len(defaults)} numbers"
    pairs = [pair for pair in zip(values, defaults, strict=True) if pair != (None, None)]
    unmet = next(filter(None, (_unmet_of_number(name, value, default or 0) for value, default in pairs)), "")
    if unmet:
        return f"a list of which each is {unmet}"
    return "in ascending order" if name in ASCENDING and sorted(values) != list(values) else ""


def _unmet_of_number(name: str, value: Any, default: float) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        return "a finite number"
    if name in UP_TO_ONE:
        return "" if 0 <= value <= 1 else "a number from 0 to 1"
    if name in BELOW_ONE:
        return "" if 0 <= value < 1 else "a number from 0 to below 1"
    if default < 0:
        return "" if value <= 0 else "a number of 0 or less"
    return "" if value >= 0 else "a number of 0 or more"
