"""The section ``attack``: one attack or a list of them, each with its clients and its rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from fedsim.config.section import Section
from fedsim.errors import ConfigError
from fedsim.participation.attack_plan import AttackPlan, Campaign

ONE_OF = ("num_byzantine", "clients", "byzantine_fraction")
"""Ways to say who attacks; a section gives one of them."""


class AttackSection(Section):
    name: str = Field("none", description="attack; several attacks are given as a list of such sections")
    num_byzantine: int | None = Field(None, ge=0, description="B, the last B clients attack")
    clients: list[int] | None = Field(None, description="ids of the clients that attack, instead of num_byzantine")
    byzantine_fraction: float | None = Field(
        None, ge=0, le=1, description="B as a share of all clients, rounded down, instead of num_byzantine"
    )
    first_round: int = Field(1, ge=1, description="the first round with this attack; before it its clients behave")
    last_round: int | None = Field(None, ge=1, description="the last round with this attack (null: to the end)")
    redraw_every: int | None = Field(
        None, ge=1, description="rounds after which B other clients are drawn to attack (null: always the same)"
    )
    allow_byzantine_majority: bool = Field(False, description="permit B >= K/2")

    def count(self, num_clients: int) -> int:
        """B."""
        if self.clients is not None:
            return len(self.clients)
        if self.byzantine_fraction is not None:
            return int(self.byzantine_fraction * num_clients + 1e-9)
        return self.num_byzantine or 0

    def overlaps(self, other: AttackSection) -> bool:
        """Whether both act in some round, in a run that is long enough."""
        ends = [section.last_round or float("inf") for section in (self, other)]
        return max(self.first_round, other.first_round) <= min(ends)


def plan_of(
    sections: Sequence[AttackSection],
    *,
    num_clients: int,
    rounds: int,
    seed: int,
    trains: Sequence[bool] | None = None,
) -> AttackPlan:
    """The plan of these sections.

    Clients that a section only counts are the last ones that no other section of the same rounds has by then.

    Args:
        trains: whether the clients of each section do their local work.
    """
    campaigns: list[Campaign] = []
    for position, section in enumerate(sections):
        drawn = section.redraw_every is not None
        campaigns.append(
            Campaign(
                name=_label(sections, position),
                clients=None if drawn else _fixed_clients(sections, position, campaigns, num_clients),
                count=section.count(num_clients),
                first_round=section.first_round - 1,
                last_round=None if section.last_round is None else section.last_round - 1,
                redraw_every=section.redraw_every or 1,
                trains=bool(trains and trains[position]),
            )
        )
    return AttackPlan(campaigns, num_clients=num_clients, rounds=rounds, seed=seed)


def _label(sections: Sequence[AttackSection], position: int) -> str:
    name = sections[position].name
    earlier = sum(section.name == name for section in sections[:position])
    return f"{name}_{earlier + 1}" if earlier else name


def _fixed_clients(
    sections: Sequence[AttackSection], position: int, campaigns: Sequence[Campaign], num_clients: int
) -> tuple[int, ...]:
    section = sections[position]
    if section.clients is not None:
        return tuple(sorted(section.clients))
    taken: set[int] = set()
    for number, other in enumerate(sections):
        if number != position and section.overlaps(other):
            taken.update(other.clients or (campaigns[number].clients or () if number < position else ()))
    free = [client for client in range(num_clients) if client not in taken]
    count = section.count(num_clients)
    return tuple(free[len(free) - count :]) if count else ()


def check_attacks(sections: Sequence[AttackSection], plan: AttackPlan, num_clients: int) -> None:
    """Raise ConfigError, by a key such as ``attack.0.clients``, for whatever does not fit the K clients."""
    for position, section in enumerate(sections):
        key = f"attack.{position}"
        _check_who(section, key, num_clients)
        if section.last_round is not None and section.last_round < section.first_round:
            raise ConfigError(f"{key}.last_round", f"{section.last_round} is before first_round", "give a later one")
        if section.redraw_every is not None and section.clients is not None:
            raise ConfigError(
                f"{key}.redraw_every", "contradicts clients", "give num_byzantine or byzantine_fraction"
            )
        _check_overlap(sections, plan, position)
    byzantine, negative_round = plan.most
    if 2 * byzantine >= num_clients and byzantine and not any(one.allow_byzantine_majority for one in sections):
        when, where = (f" in round {1 - negative_round}", "in one of the list") if len(sections) > 1 else ("", "")
        raise ConfigError(
            f"attack.0.{_way(sections[0])}",
            f"{byzantine} Byzantine of {num_clients} clients are half or more{when}",
            f"at most {(num_clients - 1) // 2}, or set attack.allow_byzantine_majority: true {where}".rstrip(),
        )


def _way(section: AttackSection) -> str:
    """The key that says who attacks."""
    given = [key for key in ONE_OF if getattr(section, key) is not None]
    return given[0] if given else "num_byzantine"


def _check_who(section: AttackSection, key: str, num_clients: int) -> None:
    given: dict[str, Any] = {name: getattr(section, name) for name in ONE_OF if getattr(section, name) is not None}
    agree = set(given) == {"num_byzantine", "clients"} and section.num_byzantine == len(section.clients or ())
    if len(given) > 1 and not agree:
        first, second, *_ = given
        raise ConfigError(
            f"{key}.{first}", f"{given[first]} contradicts {second} {given[second]}", "give one of the two"
        )
    if section.num_byzantine is not None and section.num_byzantine > num_clients:
        raise ConfigError(f"{key}.num_byzantine", f"{section.num_byzantine} of {num_clients} clients", "give fewer")
    if section.clients is not None:
        unknown = [client for client in section.clients if not 0 <= client < num_clients]
        if unknown or len(set(section.clients)) < len(section.clients):
            raise ConfigError(
                f"{key}.clients", f"{section.clients}", f"give different ids from 0 to {num_clients - 1}"
            )
    if section.name != "none" and section.count(num_clients) == 0 and section.num_byzantine is None:
        what = "no client at all" if given else "missing"
        raise ConfigError(f"{key}.{_way(section)}", what, f"say how many clients attack by '{section.name}'")


def _check_overlap(sections: Sequence[AttackSection], plan: AttackPlan, position: int) -> None:
    mine = plan.campaigns[position].clients
    wanted = sections[position].count
    for number in range(position):
        theirs = plan.campaigns[number].clients
        if mine is None or theirs is None or not sections[position].overlaps(sections[number]):
            continue
        both = sorted(set(mine) & set(theirs))
        if both:
            raise ConfigError(
                f"attack.{position}.{_way(sections[position])}",
                f"clients {both} are under attack.{number} in the same rounds",
                "give each attack clients of its own",
            )
    if mine is not None and len(mine) < wanted(plan.num_clients):
        raise ConfigError(
            f"attack.{position}.{_way(sections[position])}",
            f"only {len(mine)} clients are left for it",
            "the attacks together want more clients than there are",
        )
