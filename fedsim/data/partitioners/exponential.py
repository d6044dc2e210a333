"""Sizes that grow exponentially with the client's id."""

from collections.abc import Sequence
from math import exp

from fedsim.data.partitioners.base import partitioners
from fedsim.data.partitioners.by_size import BySize

SCALE = 2**60
"""Of the last client's weight; with fewer than 10^17 samples, whose weight is less than one has no sample."""


@partitioners.register("exponential")
class Exponential(BySize):
    """Sizes in proportion to e, e^2, e^3, ..., e^K, classes mixed as in the whole.

    The last client has 63 % of N samples, and only the last ln(N) or so have any; the others get ``min_samples`` of
    the largest. As in flwr-datasets, which refuses so many clients, and where what is lost by rounding down all goes
    to the last one.
    """

    def weights(self, num_clients: int) -> Sequence[int]:
        return [int(SCALE * exp(client - num_clients)) for client in range(1, num_clients + 1)]
