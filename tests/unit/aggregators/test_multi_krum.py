"""Multi-Krum by its definition and by ByzFL."""

import byzfl
import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.errors import ConfigError
from support.aggregation import context_of
from support.distance_references import multi_krum
from support.references import random_rows


@pytest.mark.parametrize("f", [1, 2, 3])
@pytest.mark.parametrize("clients", [9, 14, 20])
def test_multi_krum_equals_byzfl_which_sums_one_neighbour_more(clients: int, f: int) -> None:
    for seed in range(4):
        rows = random_rows(clients, 50, seed=seed)
        ours = build_aggregator("multi_krum", num_byzantine=f - 1, num_selected=clients - f)(rows)
        torch.testing.assert_close(ours, byzfl.MultiKrum(f)(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_selected", [1, 3, 8])
def test_multi_krum_averages_as_many_as_are_asked_for(num_selected: int) -> None:
    rows = random_rows(8, 30)
    step = build_aggregator("multi_krum", num_byzantine=2, num_selected=num_selected)(rows)
    torch.testing.assert_close(step.double(), multi_krum(rows, 2, num_selected), rtol=1e-6, atol=1e-7)
    if num_selected == 1:
        assert torch.equal(step, build_aggregator("krum", num_byzantine=2)(rows))


def test_multi_krum_cannot_select_more_than_all() -> None:
    with pytest.raises(ConfigError, match="9 is more than the 8 clients") as caught:
        build_aggregator("multi_krum", num_selected=9).check(8)
    assert caught.value.key == "num_selected"
    build_aggregator("multi_krum", num_selected=8).check(8)
    rows = random_rows(3, 10)  # absent clients may leave fewer
    torch.testing.assert_close(build_aggregator("multi_krum", num_selected=8)(rows), rows.mean(0))
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ConfigError, match="num_selected"):
            build_aggregator("multi_krum", num_selected=wrong)


def test_multi_krum_breaks_a_tie_by_the_lower_client_id() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    method = build_aggregator("multi_krum", num_selected=2)
    assert method(rows, context_of([40, 10, 30, 20])).tolist() == [-0.5, -0.5]
    assert method(rows, context_of([1, 2, 3, 4])).tolist() == [0.0, 0.0]
