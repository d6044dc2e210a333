"""From the attacks of a configuration to the plan of who attacks when, with whatever contradicts itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from fedsim.config.attack import AttackSection
from fedsim.config.run import RunConfig
from fedsim.errors import ConfigError, counted
from fedsim.participation.attack_plan import AttackPlan, Campaign


def plan_attacks(config: RunConfig, trains: Sequence[bool] | None = None) -> AttackPlan:
    """The plan of a configuration's attacks, checked.

    Clients that a section only counts are the last ones that no other section of the same rounds has by then.

    Args:
        trains: whether the clients of each attack do their local work.

    Raises:
        ConfigError: what does not fit the K clients, or contradicts itself; by a key such as ``attack.clients``, or
            ``attack.0.clients`` where there are several attacks.
    """
    sections, num_clients = config.attack, config.clients.count
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
    plan = AttackPlan(campaigns, num_clients=num_clients, rounds=config.rounds, seed=config.seed)
    _check_attacks(sections, plan, num_clients)
    return plan


def attack_key(sections: Sequence[AttackSection], position: int) -> str:
    """The key of an attack's section, numbered where there are several."""
    return "attack" if len(sections) == 1 else f"attack.{position}"


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
    free = (client for client in reversed(range(num_clients)) if client not in taken)
    return tuple(sorted(islice(free, section.count(num_clients))))


def _check_attacks(sections: Sequence[AttackSection], plan: AttackPlan, num_clients: int) -> None:
    for position, section in enumerate(sections):
        key = attack_key(sections, position)
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
            f"{attack_key(sections, 0)}.{_way(sections[0])}",
            f"{byzantine} Byzantine of {num_clients} clients are half or more{when}",
            f"at most {(num_clients - 1) // 2}, or set attack.allow_byzantine_majority: true {where}".rstrip(),
        )


def _way(section: AttackSection) -> str:
    """The key that says who attacks."""
    given = [key for key in section.alternatives if getattr(section, key) is not None]
    return given[0] if given else "num_byzantine"


def _check_who(section: AttackSection, key: str, num_clients: int) -> None:
    given: dict[str, Any] = {
        name: getattr(section, name) for name in section.alternatives if getattr(section, name) is not None
    }
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
            f"only {counted(len(mine), 'client')} left for it",
            "the attacks together want more clients than there are",
        )
