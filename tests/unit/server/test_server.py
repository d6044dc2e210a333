"""The server's decision: steps, rows that contain NaN, overflow."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import aggregators, build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.errors import NonFiniteError
from fedsim.server.server import Decision, Server
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.context import RoundContext


def server(policy: Any = "drop", aggregator: str = "fedavg", parameters: int = 2, **options: object) -> Server:
    return Server(
        Defence(build_aggregator(aggregator, **options)),
        build_aggregator("cwmed"),
        optimizer_maker("sgd", {"lr": 0.5}, "x"),
        policy,
        parameters,
        torch.tensor([False, True]),
    )


def decide(subject: Server, rows: Tensor, state: Tensor, context: RoundContext) -> Decision:
    return subject.decide(subject.columns.rows(rows), state, context)


def test_the_server_steps_parameters_by_its_optimiser_and_buffers_by_one() -> None:
    rows = torch.tensor([[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 5.0, 6.0], [5.0, 2.0, 4.0, 90.0]])
    decision = decide(server(), rows, torch.tensor([0.0, 0.0, 1.0, 5.0]), RoundContext.of(3))
    assert decision.step.tolist() == [1.5, 1.0, 4.0, 5.0]  # the variance 5 may fall to 0, not below


@pytest.mark.parametrize(("policy", "expected"), [("drop", 1.0), ("zero", 0.75)])
def test_a_client_that_sends_nan_is_named_once_and_treated_by_the_policy(
    policy: str, expected: float, caplog: pytest.LogCaptureFixture
) -> None:
    rows = torch.tensor([[1.0, 1, 0, 0], [2.0, 2, 0, 0], [torch.nan, 0, 0, 0], [3.0, 3, 0, 0]])
    context = RoundContext(client_ids=(4, 5, 6, 7))
    decision = decide(server(policy), rows, torch.zeros(4), context)
    assert decision.nonfinite_clients == [6]
    assert decision.step[:2].tolist() == [expected, expected]
    assert len(caplog.records) == 1
    assert "[6]" in caplog.text


def test_infinite_buffers_count_too_and_the_policy_error_stops() -> None:
    rows = torch.tensor([[1.0, 1, 0, torch.inf], [2.0, 2, 0, 0]])
    assert decide(server(), rows, torch.zeros(4), RoundContext.of(2)).nonfinite_clients == [0]
    with pytest.raises(NonFiniteError, match=r"\[0\]"):
        decide(server("error"), rows, torch.zeros(4), RoundContext.of(2))


def test_no_finite_row_is_a_zero_step_and_leaves_the_state() -> None:
    with_momentum = server(aggregator="fedseca", momentum=0.5, sparsity=0.0)
    good = torch.tensor([[1.0, 2.0, 0.0, 0.0], [1.5, 2.0, 0.0, 0.0]])
    decide(with_momentum, good, torch.zeros(4), RoundContext.of(2))
    before = with_momentum.defence.state_dict()["smoothed"].clone()
    decision = decide(with_momentum, good * torch.nan, torch.zeros(4), RoundContext.of(2))
    assert not decision.step.any()
    assert torch.equal(with_momentum.defence.state_dict()["smoothed"], before)


def test_an_aggregate_that_overflows_is_no_step() -> None:
    parent: Any = aggregators.get("fedavg")

    class Overflowing(parent):
        def aggregate(self, updates: object, context: object) -> torch.Tensor:
            return torch.tensor([torch.inf, 1.0])

    subject = server()
    subject.defence = Defence(Overflowing())
    decision = decide(subject, torch.ones(3, 4), torch.zeros(4), RoundContext.of(3))
    assert decision.nonfinite_aggregate == 1
    assert not decision.step.any()
