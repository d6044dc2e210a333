"""The worst of several attacks, chosen again in every round."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.errors import ConfigError, keys_under
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.random_rows import draw_seed


@attacks.register("worst_of")
class WorstOf(Attack):
    """In every round the one of several attacks that moves the server's real aggregate furthest from the honest mean.

    Every member a crafts its rows X_a [B, D], with randomness of its own, and the B Byzantine clients send those of
    the largest

        J(a) = ||mu - A(g_1, ..., g_H, X_a)||,

    g_i being the H honest rows, mu [D] their mean and A a copy of the server's defence with its state,
    pre-aggregators and momentum. Ties go to the first member.

    It has no paper [ours]: it is the attacker who may choose among others with the server's rule in hand. J measures
    one round; members that work over many rounds (``mimic``, ``poisonedfl``) are under-rated by it. A member may not
    poison data, which would need training of its own.

    >>> from fedsim.aggregators import build_aggregator
    >>> attack = WorstOf(members=["zero", {"name": "ipm", "epsilon": 5.0}])
    >>> honest, own = torch.tensor([[1.0], [1.0], [1.0]]), torch.zeros(1, 1)
    >>> attack(AttackView(honest=honest, own=own, aggregator=build_aggregator("fedavg")))
    tensor([[-5.]])
    """

    class Settings(Schema):
        members: list[str | dict[str, Any]] = Field(
            ["alie", "ipm", "fang"],
            min_length=1,
            description="attacks by name, or mappings {name: ..., further settings}",
        )

    settings: Settings
    probes = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._members = [_build(member, position) for position, member in enumerate(self.settings.members)]
        self.trains = any(member.trains for member in self._members)
        self.needs_weights = any(member.needs_weights for member in self._members)

    @property
    def shardable(self) -> bool:  # type: ignore[override]
        """Whether all its members are."""
        return all(member.shardable for member in self._members)

    def craft(self, view: AttackView) -> Tensor:
        probe = view.probe()
        worst, furthest, sent = 0, -inf, view.own.local_rows()
        for position, member in enumerate(self._members):
            generator = torch.Generator().manual_seed(draw_seed(view.facts.randomness()))
            rows = member(replace(view, context=replace(view.facts, generator=generator)))
            deviation = probe.deviation(rows)
            if deviation > furthest:
                worst, furthest, sent = position, deviation, rows
        # A member that probes has a deviation of its own, which is not the one that counts here.
        self.diagnostics = {**self._members[worst].diagnostics, "member": float(worst), "deviation": furthest}
        return sent

    def observe(self, context: RoundContext) -> None:
        for member in self._members:
            generator = torch.Generator().manual_seed(draw_seed(context.randomness()))
            member.observe(replace(context, generator=generator))

    def for_buffers(self) -> Attack:
        other = copy.deepcopy(self)
        other._members = [member.for_buffers() for member in self._members]
        return other

    def check(self, num_rows: int, num_byzantine: int) -> None:
        for position, member in enumerate(self._members):
            with keys_under(f"members.{position}"):
                member.check(num_rows, num_byzantine)

    def state_dict(self) -> dict[str, Any]:
        return {"members": [member.state_dict() for member in self._members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for member, its_state in zip(self._members, state["members"], strict=True):
            member.load_state_dict(its_state)


def _build(member: str | Mapping[str, Any], position: int) -> Attack:
    """A member; ConfigError with its position."""
    settings = {"name": member} if isinstance(member, str) else dict(member)
    with keys_under(f"members.{position}"):
        if not isinstance(settings.get("name"), str):
            raise ConfigError("name", "missing", "say which attack")
        if settings["name"] == WorstOf.name:
            raise ConfigError("name", "'worst_of' inside worst_of", "name its members here")
        built = attacks.build(settings.pop("name"), **settings)
        if built.poisons_data:
            raise ConfigError("name", f"'{built.name}' poisons data, which needs training of its own", "leave it out")
    return built
