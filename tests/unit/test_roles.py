"""Client, participation, evaluation, server: the roles of a round, one by one."""

from itertools import islice

import pytest
import torch
from torch import nn

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import Attack, build_attack
from fedsim.comm import SingleProcess
from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.errors import NonFiniteError
from fedsim.evaluation.evaluator import Evaluator
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.participation.placement import homes
from fedsim.participation.sampling import participants
from fedsim.records.phases import Phases
from fedsim.seeds import derive_generator, derive_seed, seeded
from fedsim.server.adversary import Adversary, Target
from fedsim.server.round import ServerHead
from fedsim.server.server import Server
from fedsim.training.client import LocalWork, Trainer, batches
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.model_rows import ModelRows

SGD = optimizer_maker("sgd", {"lr": 0.1}, "x")


CPU = torch.device("cpu")


def work(**changes: object) -> LocalWork:
    return LocalWork(
        **{"epochs": 1, "steps": None, "batch_size": 4, "send": "delta", "make_optimizer": SGD, **changes}
    )


def digits(count: int = 10) -> TensorSamples:
    generator = torch.Generator().manual_seed(0)
    return TensorSamples(torch.randn(count, 3, generator=generator), torch.arange(count) % 2)


def own_labels(client: int, round: int) -> torch.Tensor:
    """What the clients here, who hold the first samples, train on."""
    return digits().labels


def adversary(clients: list[int], attack: Attack) -> Adversary:
    """One attack by these clients, in every round."""
    campaign = Campaign(name=attack.name, clients=tuple(clients), trains=attack.trains)
    return Adversary(AttackPlan([campaign], num_clients=8, rounds=1, seed=0), [attack])


def test_an_epoch_sees_every_sample_once_and_no_batch_of_one() -> None:
    drawn = list(batches(9, work(), derive_generator(0, "t")))
    assert [len(batch) for batch in drawn] == [4, 4]  # the ninth sample would be a batch of its own
    assert len(set(torch.cat(drawn).tolist())) == 8
    assert list(batches(1, work(steps=3), derive_generator(0, "t"))) == []


def test_local_steps_go_over_the_data_again_in_a_new_order() -> None:
    drawn = list(batches(8, work(steps=5), derive_generator(0, "t")))
    assert len(drawn) == 5
    assert not torch.equal(torch.cat(drawn[:2]), torch.cat(drawn[2:4]))


@pytest.mark.parametrize("send", ["delta", "gradient"])
def test_the_row_of_one_step_is_the_gradient_by_hand(send: str) -> None:
    model = nn.Linear(3, 2)
    rows, samples = ModelRows(model), digits(4)
    state = torch.cat(rows.read())
    out = torch.full_like(state, torch.nan)
    trainer = Trainer(rows, Inputs(samples), [torch.arange(4)], work(send=send, steps=1), 0, CPU, own_labels)
    trainer.update(0, 0, state, out)
    rows.load(state, state[:0])
    model.zero_grad()
    nn.functional.cross_entropy(model(samples.inputs), samples.labels).backward()
    gradient = torch.cat([model.weight.grad.flatten(), model.bias.grad])
    assert torch.allclose(out, gradient * (0.1 if send == "delta" else 1.0), atol=1e-6)


def test_local_training_equals_a_plain_loop_and_leaves_global_randomness_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    rows, samples = ModelRows(model), digits()
    state = torch.cat(rows.read())
    out = torch.empty_like(state)
    before = torch.get_rng_state()
    Trainer(rows, Inputs(samples), [torch.arange(10)], work(epochs=2), 5, CPU, own_labels).update(0, 3, state, out)
    assert torch.equal(torch.get_rng_state(), before)

    rows.load(state, state[:0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    order = derive_generator(5, "batches", 3, 0)
    with seeded(derive_seed(5, "local work", 3, 0)):
        for batch in batches(10, work(epochs=2), order):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(samples.inputs[batch]), samples.labels[batch]).backward()
            optimizer.step()
    assert torch.equal(out, state - torch.cat(rows.read()))


def test_a_client_without_a_batch_sends_zero() -> None:
    rows = ModelRows(nn.Linear(3, 2))
    state = torch.cat(rows.read())
    out = torch.full_like(state, 7.0)
    Trainer(rows, Inputs(digits()), [torch.arange(1)], work(), 0, CPU, own_labels).update(0, 0, state, out)
    assert not out.any()


def test_a_wire_dtype_rounds_the_row() -> None:
    rows = ModelRows(nn.Linear(3, 2))
    state = torch.cat(rows.read())
    out = torch.empty_like(state)
    half = work(wire_dtype=torch.bfloat16)
    Trainer(rows, Inputs(digits()), [torch.arange(10)], half, 0, CPU, own_labels).update(0, 0, state, out)
    assert torch.equal(out, out.bfloat16().float())
    assert out.any()


def test_poisoned_labels_leave_the_batches_as_they_were() -> None:
    seen: list[torch.Tensor] = []

    class Spy(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.append(inputs)
            return super().forward(inputs)

    rows = ModelRows(Spy(3, 2))
    state = torch.cat(rows.read())
    outs = []
    for labels in (digits().labels, 1 - digits().labels):
        out, given = torch.empty_like(state), lambda client, round, labels=labels: labels
        Trainer(rows, Inputs(digits()), [torch.arange(10)], work(), 0, CPU, given).update(0, 0, state, out)
        outs.append(out)
    assert all(torch.equal(a, b) for a, b in zip(seen[: len(seen) // 2], seen[len(seen) // 2 :], strict=True))
    assert not torch.equal(*outs)


def test_frozen_parameters_and_their_buffers_do_not_travel_and_tied_ones_travel_once() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False))
    model[2].weight = model[1].weight
    model[0].requires_grad_(False)
    rows = ModelRows(model)
    assert list(rows.layout.shapes) == ["1.weight", "1.bias", "2.bias"]
    assert list(rows.buffer_layout.shapes) == ["3.running_mean", "3.running_var"]


def test_reading_and_loading_a_model_are_inverse() -> None:
    first, second = (ModelRows(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))) for _ in range(2))
    row, buffers = first.read()
    second.load(row, buffers + 1)
    assert torch.equal(second.read()[0], row)
    assert torch.equal(second.read()[1], buffers + 1)


def test_participants_are_drawn_anew_and_sorted() -> None:
    drawn = [participants(0, round, count=10, taking_part=4) for round in range(30)]
    assert all(len(set(ids)) == 4 and list(ids) == sorted(ids) for ids in drawn)
    assert len(set(drawn)) > 15
    assert set().union(*drawn) == set(range(10))


def test_homes_give_every_rank_about_as_many_training_clients() -> None:
    for ranks in (1, 2, 3, 5):
        home = homes(11, idle=[0, 3, 9], ranks=ranks)
        load = [sum(home[client] == rank for client in range(11) if client not in (0, 3, 9)) for rank in range(ranks)]
        assert max(load) - min(load) <= 1


def test_evaluation_by_hand() -> None:
    model = nn.Linear(3, 2)
    samples = digits(11)
    evaluation = Evaluator(Inputs(samples), 2, batch_size=4, comm=SingleProcess()).evaluate(model)
    logits = model(samples.inputs).double()
    right = logits.argmax(1) == samples.labels
    assert evaluation.accuracy == pytest.approx(right.double().mean().item())
    assert evaluation.loss == pytest.approx(nn.functional.cross_entropy(logits, samples.labels).item())
    recalls = [right[samples.labels == label].double().mean().item() for label in (0, 1)]
    assert evaluation.per_class_recall == pytest.approx(recalls)
    assert evaluation.balanced_accuracy == pytest.approx(sum(recalls) / 2)


def server(policy: str = "drop", aggregator: str = "fedavg", parameters: int = 2, **options: object) -> Server:
    return Server(
        Defence(build_aggregator(aggregator, **options)),
        build_aggregator("cwmed"),
        optimizer_maker("sgd", {"lr": 0.5}, "x"),
        policy,
        parameters,
        torch.tensor([False, True]),
    )


def test_the_server_steps_parameters_by_its_optimiser_and_buffers_by_one() -> None:
    rows = torch.tensor([[1.0, 2.0, 3.0, 4.0], [3.0, 2.0, 5.0, 6.0], [5.0, 2.0, 4.0, 90.0]])
    decision = server().decide(rows, torch.tensor([0.0, 0.0, 1.0, 5.0]), RoundContext.of(3))
    assert decision.step.tolist() == [1.5, 1.0, 4.0, 5.0]  # the variance 5 may fall to 0, not below


@pytest.mark.parametrize(("policy", "expected"), [("drop", 1.0), ("zero", 0.75)])
def test_a_client_that_sends_nan_is_named_once_and_treated_by_the_policy(
    policy: str, expected: float, caplog: pytest.LogCaptureFixture
) -> None:
    rows = torch.tensor([[1.0, 1, 0, 0], [2.0, 2, 0, 0], [torch.nan, 0, 0, 0], [3.0, 3, 0, 0]])
    context = RoundContext(client_ids=(4, 5, 6, 7))
    decision = server(policy).decide(rows, torch.zeros(4), context)
    assert decision.nonfinite_clients == [6]
    assert decision.step[:2].tolist() == [expected, expected]
    assert len(caplog.records) == 1
    assert "[6]" in caplog.text


def test_infinite_buffers_count_too_and_the_policy_error_stops() -> None:
    rows = torch.tensor([[1.0, 1, 0, torch.inf], [2.0, 2, 0, 0]])
    assert server().decide(rows, torch.zeros(4), RoundContext.of(2)).nonfinite_clients == [0]
    with pytest.raises(NonFiniteError, match=r"\[0\]"):
        server("error").decide(rows, torch.zeros(4), RoundContext.of(2))


def test_no_finite_row_is_a_zero_step_and_leaves_the_state() -> None:
    with_momentum = server(aggregator="fedseca", momentum=0.5, sparsity=0.0)
    good = torch.tensor([[1.0, 2.0, 0.0, 0.0], [1.5, 2.0, 0.0, 0.0]])
    with_momentum.decide(good, torch.zeros(4), RoundContext.of(2))
    before = with_momentum.defence.state_dict()["smoothed"].clone()
    decision = with_momentum.decide(good * torch.nan, torch.zeros(4), RoundContext.of(2))
    assert not decision.step.any()
    assert torch.equal(with_momentum.defence.state_dict()["smoothed"], before)


def test_an_aggregate_that_overflows_is_no_step() -> None:
    class Overflowing(type(build_aggregator("fedavg"))):
        def aggregate(self, updates: object, context: object) -> torch.Tensor:
            return torch.tensor([torch.inf, 1.0])

    subject = server()
    subject.defence = Defence(Overflowing())
    decision = subject.decide(torch.ones(3, 4), torch.zeros(4), RoundContext.of(3))
    assert decision.nonfinite_aggregate == 1
    assert not decision.step.any()


def test_the_adversary_replaces_exactly_the_byzantine_rows_and_buffers() -> None:
    rows, buffers = torch.tensor([[1.0], [9.0], [3.0], [9.0]]), torch.tensor([[4.0], [0.0], [6.0], [0.0]])
    context = RoundContext(client_ids=(1, 5, 6, 7))
    adversary([7, 5], build_attack("ipm", epsilon=2.0)).replace_rows(
        Target(rows, None, context), Target(buffers, None, context)
    )
    assert rows.flatten().tolist() == [1.0, -4.0, 3.0, -4.0]
    assert buffers.flatten().tolist() == [4.0, -10.0, 6.0, -10.0]


def test_rounds_with_only_byzantine_clients_have_zero_rows() -> None:
    rows = torch.full((2, 3), 9.0)
    adversary([0, 1], build_attack("fang")).replace_rows(Target(rows, None, RoundContext.of(2)))
    assert not rows.any()


def test_the_first_draws_are_the_same_for_the_same_purpose_only() -> None:
    first = [derive_seed(0, purpose, *ids) for purpose in ("a", "b") for ids in ((), (0,), (1,), (0, 1), (1, 0))]
    assert len(set(first)) == len(first)
    assert list(islice(first, 1)) == [derive_seed(0, "a")]


@pytest.mark.parametrize(("pre", "told"), [("nnm", True), ("bucketing", False)])
def test_trust_is_recorded_by_client_unless_a_pre_aggregator_mixes_the_clients(pre: str, told: bool) -> None:
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
    head = ServerHead(adversary([5], build_attack("ipm")), server, layout, seed=0, phases=Phases())
    record = head.decide(rows, torch.zeros(3), 0, range(6)).record
    assert ("trust" in record["clients"]) == told
    assert (record["server"]["detection_auc"] is not None) == told
    assert set(record["clients"]["cosine_to_honest"]) == set(range(6))
