"""Sizes that grow with the square of the client's id."""

from collections.abc import Sequence

from fedsim.data.partitioners.base import partitioners
from fedsim.data.partitioners.by_size import BySize


@partitioners.register("square")
class Square(BySize):
    """Sizes in proportion to 1, 4, 9, ..., K^2, classes mixed as in the whole.

    As in flwr-datasets, but for the rounding: there what is lost by rounding down all goes to the last client.
    """

    def weights(self, num_clients: int) -> Sequence[int]:
        return [client**2 for client in range(1, num_clients + 1)]
