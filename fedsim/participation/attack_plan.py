"""Who attacks in which round: one or several attacks, each with its clients and its time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, pairwise

import torch

from fedsim.seeds import derive_generator


def looks(num_clients: int) -> int:
    """How many draws of clients are looked at when a run starts: what takes about a second.

    >>> looks(8), looks(1_000_000)
    (10000, 10)
    """
    return min(10_000, max(1, 10**7 // num_clients))


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """One attack's clients and rounds. Rounds count from 0 here.

    Attributes:
        name: of the attack, unique among the campaigns of a run.
        clients: ids, fixed; None where they are drawn.
        count: how many are drawn, if ``clients`` is None.
        first_round: the first round in which it acts.
        last_round: the last one; None: to the end.
        redraw_every: rounds after which other clients are drawn.
        trains: whether its clients do their local work.
    """

    name: str
    clients: tuple[int, ...] | None
    count: int = 0
    first_round: int = 0
    last_round: int | None = None
    redraw_every: int = 1
    trains: bool = False

    def acts_in(self, round_index: int) -> bool:
        """Whether it is time for it."""
        return self.first_round <= round_index and (self.last_round is None or round_index <= self.last_round)

    def next_draw(self, round_index: int) -> int:
        """The first round after this one in which its clients are drawn again."""
        return round_index + self.redraw_every - (round_index - self.first_round) % self.redraw_every


class AttackPlan:
    """Which client is under which attack, round by round; the same on every rank.

    A client that is under no attack in a round behaves as an honest one.

    Attributes:
        campaigns: one for each attack.
        num_clients: K.

    Args:
        campaigns: in order; drawn clients are taken from those that no earlier campaign has in the round.
        rounds: of the run.
        seed: of the run.

    >>> alie = Campaign(name="alie", clients=(3, 4), first_round=1)
    >>> plan = AttackPlan([alie, Campaign(name="ipm", clients=None, count=1)], num_clients=5, rounds=9, seed=0)
    >>> plan.attackers(0), plan.attackers(1)
    ({0: 1}, {3: 0, 4: 0, 1: 1})
    """

    def __init__(self, campaigns: Sequence[Campaign], *, num_clients: int, rounds: int, seed: int) -> None:
        self.campaigns = tuple(campaigns)
        self.num_clients, self._rounds, self._seed = num_clients, rounds, seed
        self._latest: tuple[int, dict[int, int]] = (-1, {})

    def attackers(self, round_index: int) -> Mapping[int, int]:
        """The position of its campaign, by client id."""
        if self._latest[0] != round_index:  # it is asked for every client of a round
            self._latest = round_index, self._find_attackers(round_index)
        return self._latest[1]

    def _find_attackers(self, round_index: int) -> dict[int, int]:
        under: dict[int, int] = {}
        for position, campaign in enumerate(self.campaigns):
            if campaign.acts_in(round_index):
                for client in self._members(position, round_index, under):
                    under.setdefault(client, position)
        return under

    def _members(self, position: int, round_index: int, taken: dict[int, int]) -> Sequence[int]:
        campaign = self.campaigns[position]
        if campaign.clients is not None:
            return campaign.clients
        period = (round_index - campaign.first_round) // campaign.redraw_every
        drawn = torch.randperm(
            self.num_clients, generator=derive_generator(self._seed, "byzantine clients", position, period)
        )
        return sorted([client for client in drawn.tolist() if client not in taken][: campaign.count])

    def idle(self, round_index: int) -> frozenset[int]:
        """Clients that do no local work in this round."""
        return frozenset(
            client for client, position in self.attackers(round_index).items() if not self.campaigns[position].trains
        )

    def phases(self) -> Iterator[range]:
        """The rounds of the run, cut where an attack begins or ends."""
        ends = [one.last_round + 1 for one in self.campaigns if one.last_round is not None]
        cuts = {0, self._rounds, *(one.first_round for one in self.campaigns), *ends}
        for start, end in pairwise(sorted(cut for cut in cuts if cut <= self._rounds)):
            yield range(start, end)

    def looked_at(self, phase: range) -> Iterator[int]:
        """The first round of a phase, and those in which clients are drawn again, as many as can be looked at."""
        return islice(self._changes(phase), looks(self.num_clients))

    def _changes(self, phase: range) -> Iterator[int]:
        drawn = [one for one in self.campaigns if one.clients is None and one.acts_in(phase.start)]
        round_index = phase.start
        while round_index < phase.stop:
            yield round_index
            round_index = min([phase.stop, *(one.next_draw(round_index) for one in drawn)])

    @cached_property
    def ever(self) -> tuple[int, ...]:
        """Ids of all clients that attack in some round of the run, of those looked at."""
        found: set[int] = set()
        for phase in self.phases():
            for round_index in self.looked_at(phase):
                if len(found) == self.num_clients:
                    break
                found.update(self.attackers(round_index))
        return tuple(sorted(found))

    @cached_property
    def always_idle(self) -> frozenset[int]:
        """Clients that do no local work in any round, of those looked at."""
        idle = frozenset(range(self.num_clients))
        for phase in self.phases():
            for round_index in self.looked_at(phase):
                if not idle:
                    break
                idle &= self.idle(round_index)
        return idle

    @cached_property
    def most(self) -> tuple[int, int]:
        """The largest number of Byzantine clients in a round, and minus the first such round.

        Clients that are drawn, and may be those of an attack further down the list, must be looked at; where there is
        too much to look at, the largest number that is possible counts.
        """
        most, first = 0, 0
        for phase in self.phases():
            possible = self._possible(phase.start)
            looked = 0
            for round_index in self.looked_at(phase):
                if most >= possible:
                    break
                looked += 1
                number = len(self.attackers(round_index))
                if number > most:
                    most, first = number, round_index
            if most < possible and looked == looks(self.num_clients):
                most, first = possible, phase.start
        return most, -first

    def _possible(self, round_index: int) -> int:
        """The largest number of Byzantine clients, however they are drawn."""
        acting = [one for one in self.campaigns if one.acts_in(round_index)]
        wanted = sum(one.count if one.clients is None else len(one.clients) for one in acting)
        return min(self.num_clients, wanted)

    def label(self, position: int) -> str:
        """The name of a campaign."""
        return self.campaigns[position].name
