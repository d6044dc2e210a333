"""Which clients are trained at once, and on which rank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClientGroups:
    """Clients in groups that are trained at once, the same groups on any number of ranks.

    How many clients share a computation decides in which order sums are taken, and so the last bit of a result.
    Therefore groups are made of all clients that train in a round, and a whole group goes to one rank. Clients with
    about as many local steps come together, so that few wait for the others of their group.

    Attributes:
        size: N, clients in a group; the last group may be smaller.
        steps: local steps of each client [K].
        ranks: that share the groups.

    >>> groups = ClientGroups(size=2, steps=[3, 9, 3, 5, 9], ranks=2)
    >>> groups.of([0, 1, 2, 3, 4])
    [[1, 4], [3, 0], [2]]
    >>> groups.hosts([0, 1, 2, 3, 4])
    {1: 0, 4: 0, 3: 1, 0: 1, 2: 0}
    """

    size: int
    steps: Sequence[int]
    ranks: int

    def of(self, training: Sequence[int]) -> list[list[int]]:
        """The groups of the clients that train in a round, longest first."""
        ordered = sorted(training, key=lambda client: (-self.steps[client], client))
        return [ordered[start : start + self.size] for start in range(0, len(ordered), self.size)]

    def hosts(self, training: Sequence[int]) -> Mapping[int, int]:
        """The rank of each client that trains in a round."""
        groups = enumerate(self.of(training))
        return {client: position % self.ranks for position, group in groups for client in group}
