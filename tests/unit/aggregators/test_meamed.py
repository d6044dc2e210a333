"""The mean around the median by its definition and by ByzFL."""

import byzfl
import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.meamed import mean_around_median
from fedsim.updates.matrix import UpdateMatrix
from support.distance_references import meamed
from support.references import random_rows


@pytest.mark.parametrize("clients", [1, 2, 3, 4, 7, 8, 31, 32, 33, 40])
def test_mean_around_the_median_for_every_count_with_and_without_ties(clients: int) -> None:
    """Also for fewer than half of the values, as Bulyan needs it."""
    generator = torch.Generator().manual_seed(clients)
    integers = torch.randint(-4, 5, (clients, 60), generator=generator).float()
    for rows in (integers, random_rows(clients, 60)):
        for count in range(1, clients + 1):
            found = mean_around_median(UpdateMatrix(rows.double()), count)
            torch.testing.assert_close(found, meamed(rows, clients - count), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("clients", [5, 9, 33])
def test_meamed_equals_byzfl(clients: int) -> None:
    rows = random_rows(clients, 200)
    for f in range((clients - 1) // 2 + 1):
        ours = build_aggregator("meamed", num_byzantine=f)(rows)
        theirs = byzfl.Meamed(f)(rows.numpy())  # values equally far from the median occur at no coordinate here
        torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-5, atol=1e-6)


def test_of_two_values_equally_far_from_the_median_the_smaller_is_nearer() -> None:
    rows = torch.tensor([[2.0], [1.0], [3.0], [9.0]])
    assert mean_around_median(UpdateMatrix(rows), 2).item() == 1.5
    assert mean_around_median(UpdateMatrix(rows.flip(0)), 2).item() == 1.5
    assert mean_around_median(UpdateMatrix(-rows), 2).item() == -2.5  # the lower median of an even number is -3
