"""Which rank hosts which client."""

import heapq
from collections.abc import Mapping, Sequence


def place_clients(work: Sequence[int], ranks: int) -> tuple[int, ...]:
    """The rank that hosts each client, chosen so that the slowest rank has little to do.

    With a rank for every client, client k is hosted by rank k. With fewer, the client with most work comes first, and
    each goes to the rank that has least so far. The slowest rank then has at most 4/3 - 1/(3 W) times the work that
    it has under the best placement on W ranks (Graham 1969, Bounds on Multiprocessing Timing Anomalies). Clients in
    turn, by their ids, are sometimes better; then that is taken. Those without work are dealt out at the end.

    Results do not depend on it. It is balanced for rounds in which every client takes part; where a part of them is
    drawn, it is so on average, because each client is drawn as often as any other.

    Args:
        work: of each client, for example its optimiser steps in a round; 0 where it does not train.

    >>> place_clients([1, 2, 3, 6], ranks=2)
    (1, 1, 1, 0)
    >>> place_clients([0, 0, 4, 4, 4, 4], ranks=2)
    (0, 1, 0, 1, 0, 1)
    >>> place_clients([2, 1, 7], ranks=8)
    (0, 1, 2)
    """
    if len(work) <= ranks:
        return tuple(range(len(work)))
    train = [client for client, amount in enumerate(work) if amount]
    idle = [client for client, amount in enumerate(work) if not amount]
    ways = [_longest_first(train, work, ranks), _in_turn(train, ranks)]
    best = min(ways, key=lambda way: _slowest(way, work, ranks))
    placement = {**best, **_in_turn(idle, ranks)}
    return tuple(placement[client] for client in range(len(work)))


def _longest_first(clients: Sequence[int], work: Sequence[int], ranks: int) -> dict[int, int]:
    placement = {}
    loads = [(0, rank) for rank in range(ranks)]
    for client in sorted(clients, key=lambda client: (-work[client], client)):
        load, rank = loads[0]
        placement[client] = rank
        heapq.heapreplace(loads, (load + work[client], rank))
    return placement


def _in_turn(clients: Sequence[int], ranks: int) -> dict[int, int]:
    return {client: position % ranks for position, client in enumerate(clients)}


def _slowest(placement: Mapping[int, int], work: Sequence[int], ranks: int) -> int:
    loads = [0] * ranks
    for client, rank in placement.items():
        loads[rank] += work[client]
    return max(loads)
