"""Which clients take part in a round, and what each of them does there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fedsim.participation.attack_plan import AttackPlan, looks
from fedsim.participation.groups import ClientGroups
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
        placement: the rank that hosts each client, where every client is trained by itself.
        groups: of clients that are trained at once, each hosted by one rank; None: there are none.
    """

    seed: int
    num_clients: int
    per_round: int
    attack_plan: AttackPlan
    placement: tuple[int, ...]
    groups: ClientGroups | None = None

    def clients(self, round_index: int) -> tuple[int, ...]:
        """Ids of the clients of this round, sorted."""
        return draw_participants(self.seed, round_index, self.num_clients, self.per_round)

    def training(self, round_index: int) -> list[int]:
        """Ids of the participants that do local work in this round, sorted."""
        idle = self.attack_plan.idle(round_index)
        return [client for client in self.clients(round_index) if client not in idle]

    def hosts(self, round_index: int) -> list[int]:
        """The rank that hosts each client [K] in a round; rank 0 has those that are in no group."""
        if self.groups is None:
            return list(self.placement)
        hosts = self.groups.hosts(self.training(round_index))
        return [hosts.get(client, 0) for client in range(self.num_clients)]

    def trained_on(self, rank: int, round_index: int) -> list[list[int]]:
        """Ids of the clients that a rank trains in a round; those of a list are trained at once."""
        training = self.training(round_index)
        if self.groups is None:
            return [[client] for client in training if self.placement[client] == rank]
        return self.groups.of(training)[rank :: self.groups.ranks]

    def clients_on(self, rank: int, round_index: int) -> list[int]:
        """Ids of the clients that a rank hosts in a round."""
        if self.groups is None:
            return [client for client, host in enumerate(self.placement) if host == rank]
        return sorted(client for group in self.trained_on(rank, round_index) for client in group)

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
