"""Which rank hosts which client."""

from collections.abc import Collection


def place_clients(num_clients: int, idle: Collection[int], ranks: int) -> tuple[int, ...]:
    """The rank that hosts each client.

    With a rank for every client, client k is hosted by rank k. With fewer, the clients that train are distributed
    first, so that every rank has about as much to do; idle ones (no local work) follow.

    >>> place_clients(6, idle=[0, 1], ranks=2)
    (0, 1, 0, 1, 0, 1)
    >>> place_clients(5, idle=[], ranks=8)
    (0, 1, 2, 3, 4)
    """
    if num_clients <= ranks:
        return tuple(range(num_clients))
    placement = [0] * num_clients
    train = [client for client in range(num_clients) if client not in idle]
    for position, client in enumerate([*train, *sorted(idle)]):
        placement[client] = position % ranks
    return tuple(placement)
