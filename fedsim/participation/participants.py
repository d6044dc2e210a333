"""Which clients take part in a round, and what each of them does there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsim.participation.attack_plan import AttackPlan, looks
from fedsim.seeds import derive_generator


def draw_participants(seed: int, round_index: int, num_clients: int, per_round: int) -> tuple[int, ...]:
    """Ids of the ``per_round`` clients of this round, sorted.

    >>> draw_participants(0, 3, num_clients=4, per_round=4)
    (0, 1, 2, 3)
    """
    if per_round >= num_clients:
        return tuple(range(num_clients))
    drawn = torch.randperm(num_clients, generator=derive_generator(seed, "participants", round_index))[:per_round]
    return tuple(sorted(drawn.tolist()))


@dataclass(frozen=True, kw_only=True)
class Participation:
    """Who does what in each round, the same on every rank.

    Attributes:
        seed: of the run.
        num_clients: K.
        per_round: how many clients take part in a round.
        attack_plan: who attacks in which round.
        placement: the rank that hosts each client.
    """

    seed: int
    num_clients: int
    per_round: int
    attack_plan: AttackPlan
    placement: tuple[int, ...]

    def clients(self, round_index: int) -> tuple[int, ...]:
        """Ids of the clients of this round, sorted."""
        return draw_participants(self.seed, round_index, self.num_clients, self.per_round)

    def training(self, round_index: int) -> list[int]:
        """Ids of the participants that do local work in this round, sorted."""
        idle = self.attack_plan.idle(round_index)
        return [client for client in self.clients(round_index) if client not in idle]

    def ranks_of(self, clients: tuple[int, ...]) -> list[int]:
        """The ranks that host these clients."""
        return [self.placement[client] for client in clients]

    def clients_on(self, rank: int) -> list[int]:
        """Ids of the clients that a rank hosts."""
        return [client for client, host in enumerate(self.placement) if host == rank]

    def attackers_take_part(self) -> bool:
        """Whether a Byzantine client takes part in some round, of those looked at."""
        plan = self.attack_plan
        for phase in plan.phases():
            if plan.attackers(phase.start):
                rounds = phase if self.per_round < self.num_clients else phase[:1]
                for round_index in rounds[: looks(self.num_clients)]:
                    if not plan.attackers(round_index).keys().isdisjoint(self.clients(round_index)):
                        return True
        return False
