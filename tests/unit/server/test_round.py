"""A round on rank 0."""

import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import build_attack
from fedsim.records.phases import Phases
from fedsim.server.round import WorkingRound
from fedsim.server.server import Server
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.layout import RowLayout
from support.attack_views import lone_adversary


@pytest.mark.parametrize(("pre", "recorded"), [("nnm", True), ("bucketing", False)])
def test_trust_is_recorded_by_client_unless_a_pre_aggregator_mixes_the_clients(pre: str, recorded: bool) -> None:
    """Buckets of one row are as many as the clients, but in shuffled order: no client must get another's trust."""
    before = pre_aggregators.build(pre, **({"bucket_size": 1} if pre == "bucketing" else {}))
    server = Server(
        Defence(build_aggregator("krum"), [before]),
        None,
        optimizer_maker("sgd", {"lr": 1.0}, "server.optimizer"),
        "drop",
        3,
        torch.zeros(0, dtype=torch.bool),
    )
    rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    layout = RowLayout({"weight": (3,)})
    server_round = WorkingRound(lone_adversary([5], build_attack("ipm")), server, layout, seed=0, phases=Phases())
    outcome = server_round.aggregate(rows, torch.zeros(3), 0, range(6))
    assert ("trust" in outcome.clients) == recorded
    assert (outcome.server["detection_auc"] is not None) == recorded
    assert set(outcome.clients["cosine_to_honest"]) == set(range(6))


@pytest.mark.parametrize("in_row", [True, False])
def test_an_attack_on_weights_is_given_the_global_ones_of_rows_and_of_buffers(in_row: bool) -> None:
    """Two parameters and one buffer; the row that is sent must be w - 10 w_k in every entry, as released."""
    server = Server(
        Defence(build_aggregator("fedavg")),
        None if in_row else build_aggregator("fedavg"),
        optimizer_maker("sgd", {"lr": 1.0}, "server.optimizer"),
        "drop",
        2,
        torch.zeros(1, dtype=torch.bool),
    )
    state, rows = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[0.5, 0.25, 0.125], [0.5, -1.0, 2.0]])
    scaling = lone_adversary([1], build_attack("scaling", of="weights"))
    server_round = WorkingRound(scaling, server, RowLayout({"weight": (2,)}), seed=0, phases=Phases())
    trained = state - rows[1]
    server_round.aggregate(rows, state, 0, range(2))
    assert torch.equal(rows[1], state - 10 * trained)
