"""How large the numbers of a configuration may be."""

MOST_CLIENTS, MOST_ROUNDS, MOST_PIXELS = 10**6, 10**9, 2**14
"""Beyond what anybody simulates: the largest published federations have some hundred thousand clients, a billion
rounds of a millisecond take twelve days, and no model takes images of 16 384 pixels a side. Whether that much fits
into this machine's memory is asked where the size is known."""

MOST_ITEMS = 100
"""Attacks, pre-aggregators, augmentations, metrics or loggers of a run."""
