"""FedNGA by hand."""

import torch

from fedsim.aggregators import build_aggregator


def test_fednga_counts_a_zero_row() -> None:
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, -7e19], [1e-20, 0.0]])
    torch.testing.assert_close(build_aggregator("fednga")(rows), torch.tensor([0.4, -0.05]))
    assert torch.equal(build_aggregator("fednga")(torch.zeros(2, 3)), torch.zeros(3))
