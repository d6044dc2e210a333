"""Who takes part in a round, and which rank hosts whom."""

from collections.abc import Collection


def homes(count: int, idle: Collection[int], ranks: int) -> tuple[int, ...]:
    """The rank that hosts each client.

    With a rank for everybody client k lives on rank k. With fewer, the clients that train are dealt out
    first, so that every rank has about as much to do; idle ones (no local work) follow.

    >>> homes(6, idle=[0, 1], ranks=2)
    (0, 1, 0, 1, 0, 1)
    >>> homes(5, idle=[], ranks=8)
    (0, 1, 2, 3, 4)
    """
    if count <= ranks:
        return tuple(range(count))
    order = sorted(range(count), key=lambda client: (client in idle, client))
    return tuple(order.index(client) % ranks for client in range(count))
