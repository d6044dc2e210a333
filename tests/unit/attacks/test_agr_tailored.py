"""The agr-updates attack as FedSECA's authors released it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.attacks import AttackView, build_attack
from fedsim.attacks.agr_tailored import halving_search
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from support.references import mean, median, random_rows, trimmed_mean

RULES: dict[str, Callable[[Tensor], Tensor]] = {"fedavg": mean, "cwmed": median, "cwtm": trimmed_mean}


def rows_as_released(clean: Tensor, attackers: list[int], rule: Callable[[Tensor], Tensor]) -> Tensor:
    """What each attacker sends: one loop a client, float64, nothing shared."""
    center = clean.mean(0)
    sent = []
    for attacker in attackers:
        gamma, step, before, better = 10.0, 5.0, -1.0, 0.0
        while abs(gamma - better) > 1e-5:
            row = center - gamma * center / center.norm()
            tried = clean.clone()
            tried[attacker] = row
            now = float((center - rule(tried)).norm())
            better, gamma = (gamma, gamma + step / 2) if now > before else (better, gamma - step / 2)
            before, step = now, step / 2
        sent.append(row)
    return torch.stack(sent)


def view_of(clean: Tensor, attackers: list[int], aggregator: str) -> AttackView:
    honest = [client for client in range(len(clean)) if client not in attackers]
    context = RoundContext(client_ids=(*honest, *attackers))
    return AttackView(
        honest=UpdateMatrix(clean[honest]),
        own=UpdateMatrix(clean[attackers]),
        aggregator=build_aggregator(aggregator),
        context=context,
    )


@pytest.mark.parametrize("aggregator", RULES)
@pytest.mark.parametrize(("clients", "byzantine"), [(5, 2), (7, 3), (6, 2)])
def test_each_attacker_searches_alone_as_released(clients: int, byzantine: int, aggregator: str) -> None:
    for seed in range(3):
        clean = random_rows(clients, 60, seed=seed).double()
        attackers = list(range(clients - byzantine, clients))
        sent = build_attack("agr_tailored", search="released")(view_of(clean, attackers, aggregator))
        torch.testing.assert_close(sent, rows_as_released(clean, attackers, RULES[aggregator]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("aggregator", "gamma", "row"),
    [
        ("fedavg", 14.9999809265, (-8.4341385168, -8.4341385168, -4.8195077239)),
        ("cwmed", 10.0000190735, (-5.1561131858, -5.1561131858, -2.9463503919)),
    ],
)
def test_the_worked_example(aggregator: str, gamma: float, row: tuple[float, ...]) -> None:
    clean = torch.tensor([[1.0, 2, 0], [2, 1, 0], [1, 1, 1], [2, 2, 1], [1, 1, 2]], dtype=torch.float64)
    attack = build_attack("agr_tailored", search="released")
    sent = attack(view_of(clean, [4], aggregator))
    assert attack.diagnostics["gamma"] == pytest.approx(gamma, abs=1e-9)
    assert sent[0].tolist() == pytest.approx(row, abs=1e-9)


def test_a_try_is_compared_with_the_one_before_it_and_the_last_is_sent() -> None:
    tried: list[float] = []

    def objective(gamma: float) -> float:
        tried.append(gamma)
        return abs(gamma - 12.0)

    last, reached = halving_search(objective)
    assert tried[:4] == [10.0, 12.5, 11.25, 11.875]
    assert len(tried) == 19
    assert (last, reached) == (tried[-1], abs(tried[-1] - 12.0))
    assert reached < 2.0  # which the first try had


def test_a_defence_that_answers_with_nan_only_ends_the_search_near_five() -> None:
    last, _ = halving_search(lambda gamma: float("nan"))
    assert last == pytest.approx(5.0, abs=1e-5)


def test_the_server_is_not_advanced_by_the_tries() -> None:
    clean = random_rows(5, 40).double()
    view = view_of(clean, [3, 4], "fedseca")
    momentum = build_aggregator("fedseca", momentum=0.5)
    momentum(clean)
    before = momentum.state_dict()["smoothed"].clone()
    build_attack("agr_tailored", search="released")(
        AttackView(honest=view.honest, own=view.own, aggregator=momentum, context=view.context)
    )
    assert torch.equal(momentum.state_dict()["smoothed"], before)
