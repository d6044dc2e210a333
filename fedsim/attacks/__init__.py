"""Attacks, one per file, by name.

>>> import torch
>>> from fedsim.attacks import AttackView, build_attack
>>> honest = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
>>> build_attack("ipm", epsilon=0.5)(AttackView(honest=honest, own=torch.zeros(1, 2)))
tensor([[-1., -1.]])
"""

from collections.abc import Mapping
from typing import Any

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Description, import_every_module
from fedsim.settings import Schema

__all__ = ["Attack", "AttackView", "Schema", "attacks", "available_attacks", "build_attack"]

import_every_module(__name__)


def available_attacks() -> Mapping[str, Description]:
    """Every attack by name, with its line of help, settings and paper."""
    return attacks.describe()


def build_attack(name: str, **settings: Any) -> Attack:
    """The attack ``name`` with these settings.

    Raises:
        ConfigError: unknown name or setting (it names the nearest valid one), or a bad value.
    """
    return attacks.build(name, **settings)
