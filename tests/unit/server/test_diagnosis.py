"""What is recorded about the rows and the step of a round, against plain formulas on the rows that were sent."""

from collections.abc import Iterator, Sequence
from math import isnan
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.server.diagnosis import Diagnosis, Findings
from fedsim.server.nonfinite import NonFinitePolicy
from fedsim.server.server import Decision, Server
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix

PARAMETERS, BUFFERS = 12, 3
IDS = (11, 4, 7, 0, 9, 3)
BYZANTINE = (7, 3)
BETWEEN = {"aggregation_error", "aggregation_error_ratio"}
"""What is null between two diagnoses."""


def sent() -> Tensor:
    """Rows of six clients, parameters first."""
    return torch.randn(len(IDS), PARAMETERS + BUFFERS, generator=torch.Generator().manual_seed(3))


def server(defence: Defence, policy: NonFinitePolicy = "drop", *, in_row: bool = False) -> Server:
    buffers = None if in_row else build_aggregator("cwmed")
    make_optimizer = optimizer_maker("sgd", {"lr": 0.5}, "server.optimizer")
    return Server(defence, buffers, make_optimizer, policy, PARAMETERS, torch.zeros(BUFFERS, dtype=torch.bool))


def diagnosis(**options: Any) -> Diagnosis:
    plan = AttackPlan([Campaign(name="ipm", clients=BYZANTINE)], num_clients=12, rounds=9, seed=0)
    return Diagnosis(plan, PARAMETERS, **options)


def decide(subject: Server, rows: Tensor, round_index: int = 0) -> tuple[Decision, RoundContext]:
    context = RoundContext(round=round_index, client_ids=IDS)
    return subject.decide(subject.columns.rows(rows), torch.zeros(PARAMETERS + BUFFERS), context), context


def findings(subject: Server, rows: Tensor, round_index: int = 0, **options: Any) -> Findings:
    return diagnosis(**options)(*decide(subject, rows, round_index), subject.defence)


@pytest.mark.parametrize("in_row", [False, True], ids=["buffers apart", "buffers in the row"])
@pytest.mark.parametrize("policy", ["drop", "zero"])
@pytest.mark.parametrize("corrupted", [(), (4,), (4, 3)], ids=str)
def test_every_number_is_the_plain_formula_of_the_parameters_that_finite_clients_sent(
    in_row: bool, policy: NonFinitePolicy, corrupted: Sequence[int]
) -> None:
    rows = sent()
    for client in corrupted:
        rows[IDS.index(client), 2] = torch.nan
    subject = server(Defence(build_aggregator("cwmed")), policy, in_row=in_row)
    found = findings(subject, rows)
    plain = {client: row[:PARAMETERS].double() for client, row in zip(IDS, rows, strict=True)}
    honest = torch.stack([plain[client] for client in IDS if client not in (*BYZANTINE, *corrupted)])
    mean = honest.mean(0)
    for client, row in plain.items():
        cosine, norm = found.clients["cosine_to_honest"][client], found.clients["update_norm"][client]
        if client in corrupted:
            assert isnan(cosine)
            assert isnan(norm)
        else:
            assert norm == pytest.approx(float(row.norm()))
            assert cosine == pytest.approx(float(torch.cosine_similarity(row, mean, dim=0)))
    aggregate = decide(server(Defence(build_aggregator("cwmed")), policy, in_row=in_row), rows)[0].aggregate
    error, spread = float((aggregate - mean).norm()), float((honest - mean).square().sum(1).mean().sqrt())
    assert found.server["aggregation_error"] == pytest.approx(error)
    assert found.server["aggregation_error_ratio"] == pytest.approx(error / spread)
    assert found.server["step_norm"] == pytest.approx(0.5 * float(aggregate.norm()))
    assert found.server["nonfinite_clients"] == len(corrupted)
    assert list(found.clients["update_norm"]) == list(IDS)


@pytest.mark.parametrize("name", ["krum", "rfa", "cwtm", "fedseca"])
@pytest.mark.parametrize("pre", [(), ("nnm",), ("bucketing",)], ids=str)
def test_what_is_said_about_rows_is_the_same_bits_whichever_defence_has_read_them(
    name: str, pre: Sequence[str]
) -> None:
    plain = findings(server(Defence(build_aggregator("fedavg"))), sent())
    robust = findings(server(Defence(build_aggregator(name), [pre_aggregators.build(one) for one in pre])), sent())
    for number in ("update_norm", "cosine_to_honest"):
        assert robust.clients[number] == plain.clients[number]


def test_between_diagnoses_only_the_comparison_with_the_honest_mean_is_missing() -> None:
    subject = server(Defence(build_aggregator("krum")))
    rounds = [findings(subject, sent(), index, every=3, rounds=5) for index in range(5)]
    whole = [findings(subject, sent(), index) for index in range(5)]
    for number, (found, complete) in enumerate(zip(rounds, whole, strict=True), start=1):
        if number in (3, 5):  # the last round, too
            assert found == complete
        else:
            assert found.server == {**complete.server, **dict.fromkeys(BETWEEN)}
            rest = {name: values for name, values in complete.clients.items() if name != "cosine_to_honest"}
            assert found.clients == rest
            assert found.server["detection_auc"] is not None


class CountedRows(UpdateMatrix):
    """Counts how often its blocks are walked."""

    walks = 0

    def blocks(self) -> Iterator[Tensor]:
        self.walks += 1
        return super().blocks()


@pytest.mark.parametrize(("every", "walks"), [(1, 1), (2, 0)])
def test_a_diagnosis_walks_the_rows_once_and_between_diagnoses_not_at_all(every: int, walks: int) -> None:
    rows = CountedRows(sent()[:, :PARAMETERS])
    rows.prepare("norms")  # as the server does
    defence = Defence(build_aggregator("cwmed"))
    aggregate = defence(rows)
    decision, before = Decision(aggregate, aggregate, rows, IDS), rows.walks
    diagnosis(every=every)(decision, RoundContext(client_ids=IDS), defence)
    assert rows.walks - before == walks


def test_a_round_without_a_usable_row_says_nothing_about_an_earlier_one() -> None:
    subject = server(Defence(build_aggregator("krum")))
    assert "num_byzantine" in findings(subject, sent()).server
    found = findings(subject, sent() * torch.nan, 1)
    assert "num_byzantine" not in found.server
    assert set(found.clients) == {"update_norm"}
    assert found.server["aggregation_error"] is None
    assert found.server["step_norm"] == 0


def test_steps_and_state_do_not_depend_on_diagnoses() -> None:
    steps, subjects = [], [server(Defence(build_aggregator("fedseca", momentum=0.5))) for _ in range(2)]
    for subject, every in zip(subjects, (1, 3), strict=True):
        for round_index in range(4):
            decision, context = decide(subject, sent() * (1 + round_index), round_index)
            diagnosis(every=every)(decision, context, subject.defence)
        steps.append(decision.step)
    assert torch.equal(*steps)
    states = [subject.defence.state_dict()["smoothed"] for subject in subjects]
    assert torch.equal(*states)
