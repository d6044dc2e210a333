"""The adversary: replaces the Byzantine rows of a round, seeing all honest ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fedsim.attacks import Attack, AttackView
from fedsim.attacks.probe import Probed
from fedsim.participation.attack_plan import AttackPlan
from fedsim.records.round_record import AttackRecord
from fedsim.seeds import derive_generator
from fedsim.updates.context import RoundContext


@dataclass(frozen=True)
class Target:
    """A matrix that is attacked, and what is known about it.

    Attributes:
        rows: [K, D], or some columns of them, overwritten in place; row i belongs to ``context.client_ids[i]``.
        defence: what the server will do with it.
        context: the facts of the round; the last step has as many coordinates as the rows.
    """

    rows: Tensor
    defence: Probed | None
    context: RoundContext


class Adversary:
    """Controls the Byzantine clients.

    Args:
        plan: who is under which attack in which round.
        attacks: one for each campaign of the plan. They act in this order, and each knows the rows of those
            before it.
        seed: of the run; the attacker's randomness derives from it, and never touches the server's.
        wire_dtype: what every row is rounded to, theirs included.
    """

    def __init__(
        self, plan: AttackPlan, attacks: Sequence[Attack], *, seed: int = 0, wire_dtype: torch.dtype = torch.float32
    ) -> None:
        self.plan, self._attacks, self._seed, self._wire_dtype = plan, list(attacks), seed, wire_dtype
        self._buffer_attacks = [attack.for_buffers() for attack in attacks]

    def replace_rows(self, rows: Target, buffers: Target | None = None) -> None:
        """Overwrite the Byzantine rows, and in ``buffers`` their rows of model buffers.

        Rows of Byzantine clients that did no local work are taken as zero.
        """
        self._act(rows, self._attacks, "attack")
        if buffers is not None and buffers.rows.shape[1] > 0:
            self._act(buffers, self._buffer_attacks, "attack on buffers")

    def _act(self, target: Target, attacks: Sequence[Attack], purpose: str) -> None:
        context = target.context
        under = self.plan.attackers(context.round)
        campaign_of = [under.get(client) for client in context.client_ids]
        honest = self._honest(target, campaign_of) if any(one is not None for one in campaign_of) else []
        crafted: list[int] = []
        for position, attack in enumerate(attacks):
            own = [row for row, campaign in enumerate(campaign_of) if campaign == position]
            facts = replace(context, generator=derive_generator(self._seed, purpose, context.round, position))
            with attack.own_draws(facts.seed, "observe", target.rows.device):
                attack.observe(facts)
            if own:
                self._replace(target, attack, honest, own, crafted, facts)
                crafted += own

    def _honest(self, target: Target, campaign_of: Sequence[int | None]) -> list[int]:
        """The rows under no attack that are finite, as the server will see them."""
        finite = target.context.matrix(target.rows).finite_rows()
        return [row for row, campaign in enumerate(campaign_of) if campaign is None and finite[row]]

    def _replace(
        self,
        target: Target,
        attack: Attack,
        honest: list[int],
        own: list[int],
        accomplices: list[int],
        context: RoundContext,
    ) -> None:
        rows = target.rows
        if not attack.trains:
            rows[own] = 0  # whatever an earlier round has left there
        updates = context.matrix(rows)
        view = AttackView(
            honest=updates.select(honest),
            own=updates.select(own),
            accomplices=updates.select(accomplices) if accomplices else None,
            aggregator=target.defence,
            context=context.keep([*honest, *own, *accomplices]),
        )
        rows[own] = attack(view).to(self._wire_dtype).to(rows.dtype)

    def record(self, context: RoundContext) -> AttackRecord:
        """Which participants attacked by what, their share, and what each attack reports about its rows."""
        attackers = self.plan.attackers(context.round)
        acting = {client: attackers[client] for client in context.client_ids if client in attackers}
        return AttackRecord(
            share=len(acting) / max(1, len(context.client_ids)),
            attackers={client: self.plan.label(position) for client, position in acting.items()},
            parameters={
                self.plan.label(position): dict(self._attacks[position].diagnostics)
                for position in sorted(set(acting.values()))
            },
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "attacks": [attack.state_dict() for attack in self._attacks],
            "buffer_attacks": [attack.state_dict() for attack in self._buffer_attacks],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for attack, its_state in zip(self._attacks, state["attacks"], strict=True):
            attack.load_state_dict(its_state)
        for attack, its_state in zip(self._buffer_attacks, state["buffer_attacks"], strict=True):
            attack.load_state_dict(its_state)
