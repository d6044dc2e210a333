"""Sizes that grow with the client's id."""

from collections.abc import Sequence

from fedsim.data.partitioners.base import partitioners
from fedsim.data.partitioners.by_size import BySize


@partitioners.register("linear")
class Linear(BySize):
    """Sizes in proportion to 1, 2, 3, ..., K, classes mixed as in the whole.

    As in flwr-datasets, but for the rounding: there what is lost by rounding down all goes to the last client.
    """

    def weights(self, num_clients: int) -> Sequence[int]:
        return range(1, num_clients + 1)
